"""FAKD's blockwise affinities against the full matrices."""

from __future__ import annotations

import pytest
import torch
from formulas import maps

import srkd.losses
from srkd.errors import SrkdError
from srkd.losses.fakd import affinity_difference


def affinity(m):
    h, w = m.shape[2:]
    positions = [m[:, :, i, j] / m[:, :, i, j].norm(dim=1, keepdim=True) for i in range(h) for j in range(w)]
    return torch.stack([torch.stack([(a * b).sum(1) for b in positions]) for a in positions])


def test_fakd():
    s, t = maps(2, 3, 4, 5), maps(2, 6, 4, 5, seed=1)
    expected = (affinity(s) - affinity(t)).abs().mean()
    assert srkd.losses.build("fakd")(s, t).item() == pytest.approx(expected.item(), rel=1e-9)


def test_fakd_gradient_matches_autograd():
    s, t = maps(2, 3, 4, 5).requires_grad_(), maps(2, 6, 4, 5, seed=1)
    (expected,) = torch.autograd.grad((affinity(s) - affinity(t)).abs().mean(), s)
    (gradient,) = torch.autograd.grad(srkd.losses.build("fakd")(s, t), s)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("entries", [1, 50, 99, 1000])
def test_block_size_changes_nothing(entries):
    s, t = maps(2, 10, 3).requires_grad_(), maps(2, 10, 6, seed=1)
    full = (s @ s.transpose(1, 2) - t @ t.transpose(1, 2)).abs().mean()
    (expected,) = torch.autograd.grad(full, s)
    value = affinity_difference(s, t, entries)
    (gradient,) = torch.autograd.grad(3 * value, s)
    assert value.item() == pytest.approx(full.item(), rel=1e-12)
    torch.testing.assert_close(gradient, 3 * expected, rtol=1e-9, atol=1e-12)


def test_pool_averages_both_sides_first():
    s, t = maps(2, 3, 4, 4), maps(2, 6, 4, 4, seed=1)
    small = [torch.stack([m[..., i::2, j::2] for i in range(2) for j in range(2)]).mean(0) for m in (s, t)]
    expected = (affinity(small[0]) - affinity(small[1])).abs().mean()
    assert srkd.losses.build("fakd", pool=2)(s, t).item() == pytest.approx(expected.item(), rel=1e-9)


def test_a_pool_larger_than_the_maps_raises():
    with pytest.raises(SrkdError, match="pool 5 is larger than the maps"):
        srkd.losses.build("fakd", pool=5).prepare(maps(2, 3, 4, 4), maps(2, 6, 4, 4))
