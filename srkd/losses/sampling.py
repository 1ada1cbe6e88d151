"""What losses over score matrices (users, items) share: places in a ranking, and draws of items by weight.

Everything is done for all users at once; `mask` is true at a user's training items, which are not ranked nor drawn.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss, said


class OfScores(Loss):
    """Base of losses that compare two score matrices (users, items) where `mask` is false."""

    kind: ClassVar[str] = "logits"
    needs: tuple[str, ...] = ("mask",)
    stochastic = True
    permutation_invariant = False

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim != 2:
            raise ValueError(f"needs scores (users, items), got {said(student, teacher)}")

    def observed(self, scores: Tensor, mask: Tensor) -> Tensor:
        """The mask, if it goes with the scores: it would be broadcast otherwise.

        Raises:
            SrkdError: no booleans, or another shape.
        """
        if mask.dtype != torch.bool or mask.shape != scores.shape:
            got = f"{mask.dtype} of shape {tuple(mask.shape)}"
            raise SrkdError(f"{self.name}: needs a boolean mask of shape {tuple(scores.shape)}, got {got}")
        return mask

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = torch.randn(4, 9, generator=rng), torch.randn(4, 9, generator=rng)
        return Example(student, teacher, context={"mask": torch.rand(4, 9, generator=rng) < 0.3})


def places(scores: Tensor, mask: Tensor) -> Tensor:
    """Each item's place in its user's ranking, 0 the best, masked items last; (users, items), whole numbers."""
    order = scores.masked_fill(mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    numbers = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, numbers)


def draw(log_weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` items a user without replacement, the chance of each in proportion to its weight (Gumbel top-k).

    Args:
        log_weights: (users, items); -inf where an item must not be drawn.

    Returns:
        Items (users, k) and which of them were really drawn, k = min(count, items): users may have too few.
    """
    # Drawn on the CPU, so that its global random state decides on every device.
    noise = -torch.empty(log_weights.shape).exponential_().clamp_min(1e-20).log().to(log_weights)
    best = (log_weights + noise).topk(min(count, log_weights.shape[1]), 1)
    return best.indices, best.values.isfinite()


def draw_again(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` items a user with replacement, the chance of each in proportion to its weight.

    Args:
        weights: (users, items), 0 where an item must not be drawn.

    Returns:
        Items (users, count) and which of them were really drawn: none of a user whose weights are all 0.
    """
    some = weights.amax(1, keepdim=True) > 0
    # Drawn on the CPU, so that its global random state decides on every device.
    items = torch.multinomial((weights + ~some).float().cpu(), count, replacement=True).to(weights.device)
    return items, some.expand_as(items)


def mean_where(values: Tensor, valid: Tensor) -> Tensor:
    """The mean of the values that are valid; 0 where none is."""
    return torch.where(valid, values, 0).sum() / valid.sum().clamp_min(1)
