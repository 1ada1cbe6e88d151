"""Masked generation: its masks, and its value for a known mask."""

from __future__ import annotations

import pytest
import torch
from formulas import convolution, maps, perturb

import srkd.losses
from srkd.errors import SrkdError


def ready(s, t, **options):
    loss = srkd.losses.build("mgd", **options)
    loss.prepare(s, t)
    return loss


@pytest.mark.parametrize(
    ("options", "shape", "ratio"),
    [({"ratio": 0.0}, (2, 1, 6, 6), 0.0), ({}, (2, 1, 6, 6), 0.5), ({"mask": "channel"}, (2, 5, 1, 1), 0.15)],
)
def test_value_is_the_mean_of_the_official_loss(options, shape, ratio):
    """yzd-v/MGD: the alignment convolution, the mask, two 3x3 convolutions with ReLU between, squares."""
    s, t = maps(2, 3, 6, 6), maps(2, 5, 6, 6, seed=1)
    loss = ready(s, t, **options)
    state = perturb(loss)
    torch.manual_seed(7)
    value = loss(s, t)
    torch.manual_seed(7)
    seen = convolution(s, state, "projection") * torch.where(torch.rand(shape) < ratio, 0, 1)
    generated = convolution(convolution(seen, state, "generation.0").clamp_min(0), state, "generation.2")
    assert value.item() == pytest.approx((generated - t).square().mean().item(), rel=1e-9)


@pytest.mark.parametrize(("mask", "along"), [("position", (1,)), ("channel", (2, 3))])
def test_the_mask_covers_whole_positions_or_channels_at_the_given_ratio(mask, along):
    s = torch.ones(8, 16, 16, 16)
    loss = ready(s, s, ratio=0.3, mask=mask)
    seen = []
    loss.generation.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for _ in range(8):
        loss(s, s)
    for sampled in seen:
        assert set(sampled.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(sampled.amin(along), sampled.amax(along))
    assert 0.25 < 1 - torch.stack(seen).mean().item() < 0.35
    assert not torch.equal(seen[0], seen[1])


def test_the_mask_follows_the_global_seed():
    s, t = maps(2, 3, 6, 6), maps(2, 3, 6, 6, seed=1)
    loss = ready(s, t)
    torch.manual_seed(3)
    first = loss(s, t)
    assert not torch.equal(loss(s, t), first)
    torch.manual_seed(3)
    assert torch.equal(loss(s, t), first)


@pytest.mark.parametrize("options", [{"ratio": -0.1}, {"ratio": 1.0}, {"ratio": "half"}, {"mask": "pixel"}])
def test_invalid_ratio_or_mask_raises(options):
    with pytest.raises(SrkdError, match=f"mgd: {next(iter(options))}"):
        srkd.losses.build("mgd", **options)
