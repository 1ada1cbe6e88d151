"""Masked generation: its mask, and its value with the mask known."""

from __future__ import annotations

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ready(ratio, s, t):
    loss = srkd.losses.build("mgd", ratio=ratio)
    loss.prepare(s, t)
    return loss


def test_without_a_mask_it_is_the_error_of_the_generated_map():
    s, t = maps(2, 3, 6, 6), maps(2, 5, 6, 6, seed=1)
    loss = ready(0.0, s, t)
    expected = (loss.generation(loss.projection(s)) - t).square().mean()
    assert loss(s, t).item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_mask_hides_whole_positions_in_the_given_share():
    s = torch.ones(4, 3, 32, 32)
    loss = ready(0.3, s, s)
    seen = []
    loss.generation.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    loss(s, s), loss(s, s)
    for mask in seen:
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(mask.amin(1), mask.amax(1))
        assert 0.25 < 1 - mask.mean().item() < 0.35
    assert not torch.equal(*seen)


def test_the_mask_follows_the_global_seed():
    s, t = maps(2, 3, 6, 6), maps(2, 3, 6, 6, seed=1)
    loss = ready(0.5, s, t)
    torch.manual_seed(3)
    first = loss(s, t)
    assert not torch.equal(loss(s, t), first)
    torch.manual_seed(3)
    assert torch.equal(loss(s, t), first)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, "half"])
def test_shares_outside_0_to_1_are_refused(ratio):
    with pytest.raises(SrkdError, match="mgd: ratio"):
        srkd.losses.build("mgd", ratio=ratio)
