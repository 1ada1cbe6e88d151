"""Correlations between instances against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import linear, maps, perturb

import srkd.losses
from srkd.errors import SrkdError


def cosines(x):
    rows = [[v / math.hypot(*row) for v in row] for row in x.flatten(1).tolist()]
    return [[sum(p * q for p, q in zip(a, b, strict=True)) for b in rows] for a in rows]


def test_pkt():
    s, t = maps(4, 2, 3, 3), maps(4, 5, 3, 3, seed=1)

    def chances(x):
        shifted = [[(v + 1) / 2 for v in row] for row in cosines(x)]
        return [v / sum(row) for row in shifted for v in row]

    expected = sum(q * math.log(q / p) for p, q in zip(chances(s), chances(t), strict=True)) / 16
    assert srkd.losses.build("pkt")(s, t).item() == pytest.approx(expected, rel=1e-9)


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


@pytest.mark.parametrize("name", ["sp", "rkd", "pkt", "cc"])
def test_pooled_instances_are_the_means_over_positions(name):
    s, t = maps(4, 3, 2, 5), maps(4, 5, 3, 3, seed=1)
    loss = srkd.losses.build(name, instances="pooled")
    vectors = [
        torch.stack([x[..., i, j] for i in range(x.shape[2]) for j in range(x.shape[3])]).mean(0) for x in (s, t)
    ]
    assert loss(s, t).item() == pytest.approx(srkd.losses.build(name)(*vectors).item(), rel=1e-9)
    assert loss.permutation_invariant and not loss.stochastic


@pytest.mark.parametrize("name", ["pkt", "cc", "crd"])
def test_too_few_instances_raise(name):
    with pytest.raises(SrkdError, match="at least 2 instances, got 1"):
        srkd.losses.build(name).prepare(maps(1, 3, 4, 4), maps(1, 3, 4, 4))
