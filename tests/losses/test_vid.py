"""VID against its official formula, with perturbed parameters."""

from __future__ import annotations

import math

import pytest
from formulas import convolution, maps, perturb, ready


def test_vid():
    """RepDistiller, distiller_zoo/VID.py."""
    s, t = maps(2, 3, 4, 4), maps(2, 5, 4, 4, seed=1)
    loss = ready("vid", s, t)
    state = perturb(loss)
    assert [name for name in state if "bias" in name] == []
    mean = convolution(convolution(s, state, "mean.0").clamp_min(0), state, "mean.2").clamp_min(0)
    mean, total = convolution(mean, state, "mean.4"), 0.0
    for c in range(5):
        v = math.log(1 + math.exp(state["raw_variance"][c].item())) + 1e-5
        for m, x in zip(mean[:, c].flatten().tolist(), t[:, c].flatten().tolist(), strict=True):
            total += 0.5 * ((m - x) ** 2 / v + math.log(v))
    assert loss(s, t).item() == pytest.approx(total / t.numel(), rel=1e-9)


@pytest.mark.parametrize("variance", [5.0, 0.5])
def test_vid_starts_from_the_given_variance(variance):
    loss = ready("vid", maps(2, 3, 4, 4), maps(2, 5, 4, 4), variance=variance)
    raw = loss.raw_variance.tolist()
    assert raw == pytest.approx([math.log(math.exp(variance - 1e-5) - 1)] * 5, rel=1e-6)
