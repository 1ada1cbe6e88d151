import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from clock import Clock

from srkd.errors import SrkdError
from srkd.inference import speed
from srkd.inference.speed import Speed, SpeedMeter, StepRate


def test_a_speed_is_the_median_of_its_passes() -> None:
    found = Speed((5.0, 1.0, 3.0, 2.0, 4.0))
    assert (found.ms, found.fastest, found.spread) == (3.0, 1.0, pytest.approx(1 / 3))
    assert Speed((3.0,)).spread is None and Speed((3.0,)).ms == 3.0


def test_the_warm_up_is_not_timed() -> None:
    clock = Clock()
    assert SpeedMeter(0.0, clock=clock).time(clock.taking(9.0, 0.001, 0.002, 0.003)).passes == pytest.approx((1, 2, 3))


@pytest.mark.parametrize(("seconds", "expected"), [(1.0, 1), (2.0, 3), (9.0, 5)])
def test_what_takes_long_is_not_timed_more_often_than_it_must(seconds: float, expected: int) -> None:
    clock = Clock()
    found = SpeedMeter(seconds, clock=clock).time(clock.taking(2.0))
    assert found.ms == 2000 and len(found.passes) == expected and clock.now == 100 + 2 * (1 + expected)


def test_what_takes_very_long_runs_once() -> None:
    clock = Clock()
    assert SpeedMeter(0.5, clock=clock).time(clock.taking(11.0)).passes == (11000.0,)
    assert clock.now == 111 and SpeedMeter(2.0, clock=clock).time(clock.taking(11.0)).spread is None


def test_after_the_limit_one_pass_is_timed() -> None:
    clock = Clock()
    meter = SpeedMeter(3.0, limit=5.0, clock=clock)
    assert len(meter.time(clock.taking(0.5)).passes) == 6 and meter.left == 1.5
    assert len(meter.time(clock.taking(0.6)).passes) == 2 and meter.left < 0
    assert len(meter.time(clock.taking(0.6)).passes) == 1


def test_a_network_is_timed_at_the_size_that_is_given() -> None:
    shapes = []

    class Slow(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shapes.append(tuple(x.shape))
            return x

    assert SpeedMeter(0.0).network(Slow(), 8, 12).ms > 0
    assert set(shapes) == {(1, 3, 8, 12)} and len(shapes) >= 4


def test_steps_are_counted_after_the_warm_up() -> None:
    clock = Clock()
    rate = StepRate(1.0, warm_up=2, clock=clock)
    step = clock.taking(50.0, 7.0, 0.25)
    steps = 0
    while True:
        step()
        steps += 1
        if rate.tick():
            break
    assert (steps, rate.per_second) == (6, 4.0)
    slow = StepRate(1.0, warm_up=1, clock=clock)
    assert not slow.tick()
    clock.now += 8
    assert slow.tick() and slow.per_second == 1 / 8


@pytest.fixture
def network(tmp_path: Path) -> str:
    from srkd import networks
    from srkd.training.checkpoint import save_weights

    spec = {"type": "EDSR", "num_feat": 6, "num_block": 1, "upscale": 2}
    save_weights(tmp_path / "n.safetensors", networks.build(spec).state_dict(), {"network": spec, "scale": 2})
    return str(tmp_path / "n.safetensors")


def test_time_and_memory_are_measured_in_a_subprocess(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: tuple[Any, ...] = (network, ("torch", "fp32"), (500, 400), 0.01)
    found = speed.in_subprocess(speed.speed_and_memory, *arguments)
    assert found["ms"] > 0
    if sys.platform == "linux":
        assert found["peak MB"] >= 500 * 400 * 6 * 4 / 2**20  # one map of its 6 features
    with pytest.raises(SrkdError, match=r"^nowhere\.safetensors: no such checkpoint"):
        speed.in_subprocess(speed.speed_and_memory, "nowhere.safetensors", *arguments[1:])
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SrkdError, match=r"n\.safetensors could not be measured in a subprocess: exit code 1"):
        speed.in_subprocess(speed.speed_and_memory, *arguments)
