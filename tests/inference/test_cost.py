import pytest
import torch

from srkd import networks
from srkd.inference import cost


def test_multiply_adds_are_those_of_the_convolutions_written_out() -> None:
    network = networks.build({"type": "EDSR", "num_feat": 16, "num_block": 8, "upscale": 2})
    low, high = 640 * 360, 1280 * 720
    expected = 9 * low * (3 * 16 + 16 * 16 * 17 + 16 * 64) + 9 * high * 16 * 3
    assert cost.multiply_adds(network, 2) == pytest.approx(expected)
    assert cost.parameters(network) == 49_603


def test_latency_is_the_median_of_repeated_passes() -> None:
    calls = []

    class Slow(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(tuple(x.shape))
            torch.rand(300, 300) @ torch.rand(300, 300)
            return x

    assert cost.latency_ms(Slow(), 8, 12, seconds=0.0) > 0
    assert calls == [(1, 3, 8, 12)] * 4


@pytest.mark.parametrize(("seconds", "expected"), [(1.0, 2), (2.0, 4), (9.0, 6)])
def test_what_takes_long_is_not_timed_more_often_than_it_must(
    seconds: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def timed(function: object) -> float:
        calls.append(function)
        return 2.0

    monkeypatch.setattr(cost, "_timed", timed)
    assert cost.median_ms(lambda: None, seconds) == 2000
    assert len(calls) == expected  # and one before them
