"""Relational KD against its formula: gradients of repeated instances and of blocks, and its options."""

from __future__ import annotations

import pytest
import torch
from formulas import maps, relational, rows

import srkd.losses
from srkd.losses.rkd import angle_difference, squared_distances


def test_value_matches_the_formula() -> None:
    s, t = maps(5, 2, 3, 3), maps(5, 4, 3, 3, seed=1) * 3 + 2
    loss = srkd.losses.build("rkd")
    loss.prepare(s, t)
    assert loss(s, t).item() == pytest.approx(relational(rows(s), rows(t)), rel=1e-9)


def test_rkd_blockwise_gradient_matches_autograd():
    x, t = maps(7, 4).requires_grad_(), maps(7, 6, seed=1)

    def cosines(v):
        way = v[None] - v[:, None]
        length = way.square().sum(2, keepdim=True)
        unit = way * torch.where(length > 0, torch.where(length > 0, length, 1).rsqrt(), 0)
        return unit @ unit.transpose(1, 2)

    plain = torch.nn.functional.smooth_l1_loss(cosines(x), cosines(t))
    (expected,) = torch.autograd.grad(plain, x)
    blocks = angle_difference(squared_distances(x), squared_distances(t), entries=100)
    (gradient,) = torch.autograd.grad(blocks, x)
    assert blocks.item() == pytest.approx(plain.item(), rel=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-10)


def test_rkd_with_repeated_instances_has_a_finite_gradient():
    x = maps(3, 4, dtype=torch.float32)[[0, 0, 1, 1, 2]].requires_grad_()
    srkd.losses.build("rkd")(x, maps(5, 4, seed=1, dtype=torch.float32)).backward()
    assert x.grad.isfinite().all() and x.grad.abs().max() > 0


@pytest.mark.parametrize("samples", [2, 257, 4.0])
def test_rkd_accepts_3_to_256_samples(samples):
    with pytest.raises(srkd.errors.SrkdError, match="samples must be an integer from 3 to 256"):
        srkd.losses.build("rkd", samples=samples)


def test_rkd_with_both_weights_zero_raises():
    with pytest.raises(srkd.errors.SrkdError, match="no term is left"):
        srkd.losses.build("rkd", distance_weight=0, angle_weight=0)
