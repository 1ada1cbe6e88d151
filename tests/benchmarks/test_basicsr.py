from __future__ import annotations

import multiprocessing
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srkd.benchmarks import basicsr as baseline
from srkd.errors import SrkdError
from srkd.integrations import basicsr

TINY = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "upscale": 2}
RNG = np.random.default_rng(0)
LR = [RNG.integers(0, 256, (50, 60, 3), dtype=np.uint8) for _ in range(3)]
HR = [lr.repeat(2, axis=0).repeat(2, axis=1) for lr in LR]  # so that a pair of crops can be told from a mismatch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models built by BasicSR."""
    built: list[Any] = []
    build = basicsr.package().build_model
    monkeypatch.setattr(basicsr.package(), "build_model", lambda options: built.append(build(options)) or built[-1])
    return built


def test_training_is_basicsrs_own(models: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with baseline.training(TINY, HR, LR) as step:
        (model,) = models
        before = [p.detach().clone() for p in model.net_g.parameters()]
        step()
        assert type(model).__module__ == "basicsr.models.sr_model"
        assert model.lq.shape == (16, 3, 48, 48) and model.gt.shape == (16, 3, 96, 96)
        assert torch.equal(model.gt[..., ::2, ::2], model.lq), "the crops of HR and LR are not of the same place"
        assert not all(torch.equal(a, b) for a, b in zip(before, model.net_g.parameters(), strict=True))
        assert len(multiprocessing.active_children()) == baseline.WORKERS
    assert not list(tmp_path.iterdir()) and not multiprocessing.active_children()


def test_live_distillation_adds_the_distance_to_the_teachers_output(
    models: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, runs = basicsr.network(**TINY), []
    monkeypatch.setattr(basicsr, "network", lambda **options: teacher)
    teacher.register_forward_hook(lambda module, inputs, output: runs.append(torch.is_grad_enabled()))
    with baseline.training(TINY, HR, LR, TINY) as step:
        runs.clear()
        step()
        (model,) = models
        assert runs == [False] and not teacher.training
        slow = {
            "l_pix": (model.output - model.gt).abs().mean(),
            "l_kd": (model.output - teacher(model.lq)).abs().mean(),
        }
        assert model.log_dict == pytest.approx({key: value.item() for key, value in slow.items()})


def test_steps_are_counted_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    @contextmanager
    def training(*_: Any) -> Iterator[Any]:
        yield lambda: done.append(1)

    monkeypatch.setattr(baseline, "training", training)
    assert baseline.training_speed(TINY, HR, LR, seconds=0.02) >= (len(done) - 5) / 0.1 and len(done) > 5


@pytest.mark.parametrize(
    ("hr", "lr", "message"),
    [
        ([], [], "needs a low resolution for every image, got 0 and 0"),
        (HR, LR[:2], "got 3 and 2"),
        (HR, [LR[0], LR[1][:-1], LR[2]], "image 1: HR must be 2 times LR"),
        ([HR[0][:90]], [LR[0][:45]], "at least 96 pixels a side, got 120x90 for an LR of 60x45"),
    ],
)
def test_images_of_wrong_sizes_raise(hr: list[np.ndarray], lr: list[np.ndarray], message: str) -> None:
    with pytest.raises(SrkdError, match=re.escape(message)), baseline.training(TINY, hr, lr):
        pass
