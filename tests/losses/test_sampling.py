"""Ranks and weighted sampling, against counting; masks of the losses that use them."""

from __future__ import annotations

import pytest
import torch
from formulas import scores

import srkd.losses
from srkd.errors import SrkdError
from srkd.losses.sampling import masked_mean, ranks, sample_without_replacement


def test_ranks_count_the_better_items_and_put_masked_ones_last() -> None:
    scores = torch.tensor([[0.3, 2.0, -1.0, 0.9], [5.0, 4.0, 3.0, 2.0]])
    mask = torch.tensor([[False, True, False, False], [False] * 4])
    assert ranks(scores, mask).tolist() == [[1, 3, 2, 0], [0, 1, 2, 3]]


def test_samples_follow_the_weights() -> None:
    torch.manual_seed(0)
    weights = torch.tensor([4.0, 2.0, 1.0, 1.0])
    items, valid = sample_without_replacement(weights.log().expand(40_000, 4), 1)
    shares = torch.bincount(items[:, 0], minlength=4) / 40_000
    assert valid.all() and shares.tolist() == pytest.approx([0.5, 0.25, 0.125, 0.125], abs=0.01)


def test_samples_are_without_replacement_and_invalid_where_a_user_has_too_few() -> None:
    log_weights = torch.tensor([[0.0, -torch.inf, 0.0, -torch.inf], [0.0] * 4])
    items, valid = sample_without_replacement(log_weights, 3)
    assert sorted(items[0][valid[0]].tolist()) == [0, 2] and len(set(items[1].tolist())) == 3 and valid[1].all()
    assert sample_without_replacement(log_weights, 9)[0].shape == (2, 4)


def test_masked_mean_of_no_values_is_zero() -> None:
    assert masked_mean(torch.tensor([torch.inf]), torch.tensor([False])) == 0


S, T = scores(0, 5, 9), scores(1, 5, 9)


MASK = torch.rand(5, 9, generator=torch.Generator().manual_seed(2)) < 0.3


@pytest.mark.parametrize("name", ["rd", "rrd", "cd", "bd"])
def test_a_user_who_rated_everything_is_ignored(name: str) -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    student = torch.randn(1, 4, requires_grad=True)
    value = srkd.losses.build(name)(student, torch.randn(1, 4), mask=mask)
    value.backward()
    assert value.item() == 0 and (student.grad == 0).all()


@pytest.mark.parametrize("name", ["rd", "rrd", "cd", "bd"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"needs the keyword mask: call it with mask=\.\.\."),
        ({"mask": MASK[:1]}, r"needs a boolean mask of shape \(5, 9\), got torch.bool of shape \(1, 9\)"),
        ({"mask": MASK.float()}, r"needs a boolean mask of shape \(5, 9\), got torch.float32"),
    ],
)
def test_a_missing_or_invalid_mask_raises(name: str, given: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(SrkdError, match=f"^{name}: {message}"):
        srkd.losses.build(name)(S, T, **given)
