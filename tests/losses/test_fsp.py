"""FSP against its formula."""

from __future__ import annotations

import pytest
import torch
from formulas import maps

import srkd.losses
from srkd.errors import SrkdError


def flow(a, b):
    n, p, q = len(a), a.shape[1], b.shape[1]
    out = torch.zeros(n, p, q, dtype=a.dtype)
    for i in range(a.shape[2]):
        for j in range(a.shape[3]):
            out += a[:, :, None, i, j] * b[:, None, :, i, j]
    return out / (a.shape[2] * a.shape[3])


def test_fsp_sums_over_adjacent_pairs():
    s = [maps(2, c, 3, 4, seed=c) for c in (2, 3, 4)]
    t = [maps(2, c, 3, 4, seed=10 + c) for c in (2, 3, 4)]
    loss = srkd.losses.build("fsp")
    loss.prepare(s, t)
    expected = sum((flow(s[i], s[i + 1]) - flow(t[i], t[i + 1])).square().mean() for i in range(2))
    assert loss(s, t).item() == pytest.approx(expected.item(), rel=1e-9)


def test_fsp_projected_flow_equals_the_flow_of_projected_maps():
    s, t = [maps(2, 2, 3, 4, seed=i) for i in range(2)], [maps(2, c, 3, 4, seed=c) for c in (5, 3)]
    loss = srkd.losses.build("fsp")
    loss.prepare(s, t)
    mapped = [torch.einsum("oc,nchw->nohw", p.weight, m) for p, m in zip(loss.projections, s, strict=True)]
    expected = (flow(*mapped) - flow(*t)).square().mean()
    assert loss(s, t).item() == pytest.approx(expected.item(), rel=1e-9)


def test_fsp_pools_all_four_maps_to_the_smallest():
    s, t = [maps(2, 2, 4, 4), maps(2, 3, 2, 2, seed=1)], [maps(2, 2, 4, 4, seed=2), maps(2, 3, 4, 4, seed=3)]

    blocks = [torch.nn.functional.avg_pool2d(m, m.shape[2] // 2) for m in (*s, *t)]
    expected = (flow(*blocks[:2]) - flow(*blocks[2:])).square().mean()
    loss = srkd.losses.build("fsp")
    loss.prepare(s, t)
    assert loss(s, t).item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (1, 1, "at least two layers per side, got 1"),
        (2, 3, "same number of layers per side, got 2 of the student and 3"),
    ],
)
def test_fsp_needs_two_layers_and_equal_numbers_per_side(ours, theirs, message):
    with pytest.raises(SrkdError, match=message):
        srkd.losses.build("fsp").prepare([maps(2, 3, 4, 4)] * ours, [maps(2, 3, 4, 4)] * theirs)


def test_fsp_before_prepare_raises():
    with pytest.raises(SrkdError, match="fsp: call prepare"):
        srkd.losses.build("fsp")([maps(2, 3, 4, 4)] * 2, [maps(2, 3, 4, 4)] * 2)
