"""BPR against its formula; deterministic where a user has one item of each class."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_bpr_of_one_rated_and_one_unobserved_item() -> None:
    scores = torch.tensor([[0.7, -0.4, 9.0]], dtype=torch.float64)
    value = srkd.losses.build("bpr", pairs=200)(scores, torch.tensor([[1, 0, -1]])).item()
    assert value == pytest.approx(softplus(-1.1), rel=1e-9)


def test_of_two_rated_items_the_higher_class_ranks_first() -> None:
    scores = torch.tensor([[0.7, -0.4]], dtype=torch.float64)
    value = srkd.losses.build("bpr", pairs=200)(scores, torch.tensor([[1, 2]])).item()
    assert value == pytest.approx(softplus(1.1), rel=1e-9)


def test_items_of_unknown_class_get_no_gradient() -> None:
    scores = torch.randn(6, 20, requires_grad=True)
    classes = torch.randint(-1, 3, (6, 20), generator=torch.Generator().manual_seed(0))
    srkd.losses.build("bpr", pairs=100)(scores, classes).backward()
    assert scores.grad is not None and (scores.grad[classes < 0] == 0).all() and scores.grad[classes > 0].any()


def test_a_user_without_pairs_is_ignored() -> None:
    assert srkd.losses.build("bpr")(torch.randn(1, 4), torch.tensor([[-1, 0, 0, -1]])).item() == 0
