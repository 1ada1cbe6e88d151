"""Correlation congruence against its formulas."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import cosines, linear, maps, perturb

import srkd.losses
from srkd.errors import SrkdError


@pytest.mark.parametrize("order", [1, 2, 3])
def test_cc(order):
    s, t = maps(4, 2, 3, 3), maps(4, 5, 3, 3, seed=1)

    def kernel(x):
        terms = [0.8**p / math.factorial(p) for p in range(order + 1)]
        return [math.exp(-0.8) * sum(c * v**p for p, c in enumerate(terms)) for row in cosines(x) for v in row]

    expected = sum((a - b) ** 2 for a, b in zip(kernel(s), kernel(t), strict=True)) / 16
    assert srkd.losses.build("cc", order=order)(s, t).item() == pytest.approx(expected, rel=1e-9)


def test_the_taylor_series_approaches_the_gaussian_kernel():
    s = maps(4, 6)
    exact = torch.tensor([[math.exp(-0.4 * (2 - 2 * v)) for v in row] for row in cosines(s)], dtype=torch.float64)
    series = srkd.losses.build("cc", order=12)._kernel(torch.tensor(cosines(s), dtype=torch.float64))
    torch.testing.assert_close(series, exact)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_neighbour_multiplies_the_errors_of_adjacent_embeddings(layout):
    """RepDistiller: distiller_zoo/CC.py of two LinearEmbed, on features pooled over positions."""
    s, t = maps(4, 3, 2, 2), maps(4, 5, 2, 2, seed=1)
    loss = srkd.losses.build("cc", neighbour=True, dim=6)
    loss.prepare(s, t)
    state = perturb(loss)
    ours, theirs = (linear(x.mean((2, 3)), state, f"embed_{side}") for x, side in ((s, "s"), (t, "t")))
    errors = (ours - theirs).abs().tolist()
    expected = sum(sum(a * b for a, b in zip(errors[i], errors[i + 1], strict=True)) for i in range(3)) / 3
    assert loss(s.contiguous(memory_format=layout), t).item() == pytest.approx(expected, rel=1e-9)
    assert loss(s[[1, 0, 3, 2]], t[[1, 0, 3, 2]]).item() != pytest.approx(expected, rel=1e-3)
    assert not loss.permutation_invariant and srkd.losses.build("cc").permutation_invariant


def test_neighbour_has_learned_embeddings_and_raises_before_prepare():
    s, t = maps(4, 3, 2, 2), maps(4, 5, 2, 2, seed=1)
    loss = srkd.losses.build("cc", neighbour=True)
    with pytest.raises(SrkdError, match="cc: call prepare"):
        loss(s, t)
    loss.prepare(s, t)
    loss(s, t).backward()
    assert loss.embed_s.weight.shape == (128, 3) and loss.embed_t.weight.shape == (128, 5)
    assert all(p.grad.abs().max() > 0 for p in loss.parameters())
