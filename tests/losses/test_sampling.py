"""Ranks and weighted sampling, against counting."""

from __future__ import annotations

import pytest
import torch

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
