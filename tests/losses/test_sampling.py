"""Ranks and weighted sampling, against counting; masks of the losses that use them."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import scores

import srkd.losses
from srkd.errors import SrkdError
from srkd.losses.sampling import (
    best_items,
    masked_mean,
    ranks,
    ranks_of,
    reach,
    sample_by_rank,
    sample_uniformly,
    sample_without_replacement,
)


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


def test_ranks_of_many_items_count_the_better_ones() -> None:
    scores, mask = torch.randn(3, 700, dtype=torch.float64), torch.rand(3, 700) < 0.2
    found = ranks(scores, mask)
    better = ((scores[:, None] > scores[:, :, None]) & ~mask[:, None]).sum(2)
    assert torch.equal(found[~mask], better[~mask]) and (found[mask] >= (~mask).sum(1).min()).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_ranks_of_some_items_count_the_unmasked_ones_above(dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 40, generator=rng).to(dtype)
    mask, items = torch.rand(5, 40, generator=rng) < 0.3, torch.randint(40, (5, 6), generator=rng)
    unseen = scores.masked_fill(mask, -torch.inf)
    wanted = [[int((row > row[i]).sum()) for i in own] for row, own in zip(unseen, items, strict=True)]
    assert ranks_of(items, scores, mask).tolist() == wanted


def test_ranks_in_bfloat16() -> None:
    scores = torch.tensor([[0.5, 2.0, -1.0, 1.0]])
    mask = torch.zeros(1, 4, dtype=torch.bool)
    assert ranks(scores.bfloat16(), mask).tolist() == [[2, 0, 3, 1]]


def test_best_items_are_in_order_and_invalid_where_a_user_has_too_few() -> None:
    scores = torch.tensor([[0.3, 2.0, -1.0, 0.9], [5.0, 4.0, 3.0, 2.0]])
    mask = torch.tensor([[False, True, False, False], [True, True, True, False]])
    items, known = best_items(scores, mask, 2)
    assert items[0].tolist() == [3, 0] and items[1, 0] == 3 and known.tolist() == [[True, True], [True, False]]
    assert best_items(scores, mask, 9)[0].shape == (2, 4)


def test_positions_are_sampled_by_rank_in_order_and_none_beyond_reach() -> None:
    torch.manual_seed(0)
    possible = torch.ones(20_000, reach(2, 1.5) + 50, dtype=torch.bool)
    possible[:, 0] = False
    positions = sample_by_rank(possible, 2, 1.5)
    assert (positions[:, 0] < positions[:, 1]).all() and positions.min() == 1 and positions.max() < reach(2, 1.5)
    weights = [math.exp(-r / 1.5) for r in range(40)]
    share = [p / sum(weights) * q / (sum(weights) - p) for p, q in [weights[:2], weights[1::-1]]]
    both = (positions == torch.tensor([1, 2])).all(1).double().mean()
    assert float(both) == pytest.approx(sum(share), abs=0.015)


def test_uniform_samples_are_of_what_is_allowed_without_replacement() -> None:
    torch.manual_seed(0)
    items, valid = sample_uniformly(torch.tensor([True, False, True, True]).expand(30_000, 4), 2)
    assert valid.all() and (items[:, 0] != items[:, 1]).all()
    shares = torch.bincount(items.flatten(), minlength=4) / 60_000
    assert shares.tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3], abs=0.01)
    assert sample_uniformly(torch.tensor([[True, False]]), 2)[1].tolist() == [[True, False]]


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
