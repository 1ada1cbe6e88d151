"""Bidirectional distillation: sampling probabilities and value against the paper."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import bce, scores

import srkd.losses

MASK = torch.rand(5, 9, generator=torch.Generator().manual_seed(2)) < 0.3


def probabilities(own: torch.Tensor, other: torch.Tensor, eps: float, direction: str) -> list[float]:
    """The paper's sampling probabilities for one user's items; ranks count from the best."""

    def rank(x: torch.Tensor, i: int) -> int:
        return sum(y > x[i].item() for y in x.tolist())

    gaps = [eps * (rank(own, i) - rank(other, i)) for i in range(len(own))]
    weights = [max(math.tanh(g), 0) if direction == "to_student" else math.exp(g) for g in gaps]
    return [w / sum(weights) for w in weights]


@pytest.mark.parametrize("direction", ["to_student", "to_teacher"])
def test_bd_samples_by_rank_difference(direction: str) -> None:
    own, other = torch.tensor([3.0, 2.0, 1.0, 0.0, 9.0]), torch.tensor([2.0, 0.0, 3.0, 1.0, -9.0])
    mask = torch.tensor([False, False, False, False, True])  # training items are not ranked
    s = own.repeat(4000, 1).requires_grad_()
    torch.manual_seed(0)
    loss = srkd.losses.build("bd", count=1, eps=0.5, direction=direction)
    loss(s, other.repeat(4000, 1), mask=mask.repeat(4000, 1)).backward()
    sampled = (s.grad != 0).double().mean(0).tolist()
    assert sampled == pytest.approx([*probabilities(own[:4], other[:4], 0.5, direction), 0], abs=0.03)


@pytest.mark.parametrize("direction", ["to_student", "to_teacher"])
def test_bd_is_the_mean_over_samples_with_replacement(direction: str) -> None:
    """Compared in expectation, with many samples."""
    own, other = scores(0, 5, 9), scores(1, 5, 9)
    expected = 0.0
    for u in range(5):
        left = [i for i in range(9) if not MASK[u, i]]
        chances = probabilities(own[u, left], other[u, left], 0.3, direction)
        expected += (
            sum(p * bce(own[u, i].item(), other[u, i].item() / 2) for p, i in zip(chances, left, strict=True)) / 5
        )
    torch.manual_seed(0)
    loss = srkd.losses.build("bd", count=40000, eps=0.3, direction=direction)
    assert loss(own, other, mask=MASK).item() == pytest.approx(expected, rel=0.02)


def test_bd_of_equal_rankings_is_zero_for_the_student_but_not_for_the_teacher() -> None:
    s = scores(0, 5, 9)
    assert srkd.losses.build("bd")(2 * s, s, mask=MASK).item() == 0
    assert srkd.losses.build("bd", direction="to_teacher")(2 * s, s, mask=MASK).item() > 0


def test_bd_has_the_official_constants() -> None:
    found = srkd.losses.options("bd")
    assert (found["eps"].default, found["temperature"].default) == (1e-4, 2.0)
