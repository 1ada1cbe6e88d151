"""Ranks and weighted sampling of items for losses on score matrices (users, items).

All users are processed at once; `mask` is true at a user's training items, which are neither ranked nor sampled.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss, integer, positive, shapes_of


class ScoreLoss(Loss):
    """Base of losses that compare two score matrices (users, items) where `mask` is false."""

    kind: ClassVar[str] = "logits"
    needs: tuple[str, ...] = ("mask",)
    stochastic = True
    permutation_invariant = False

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim != 2:
            raise ValueError(f"needs scores (users, items), got {shapes_of(student, teacher)}")

    def observed(self, scores: Tensor, mask: Tensor) -> Tensor:
        """The mask, checked: another shape would be broadcast.

        Raises:
            SrkdError: it is not boolean or not of the scores' shape.
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


def ranks(scores: Tensor, mask: Tensor) -> Tensor:
    """Each item's rank for its user, 0 the best, masked items last: integers (users, items)."""
    order = scores.masked_fill(mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    numbers = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, numbers)


def sample_without_replacement(log_weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` items per user without replacement, with probabilities proportional to the weights (Gumbel top-k).

    Args:
        log_weights: (users, items); -inf where an item must not be sampled.

    Returns:
        Items (users, k), k = min(count, items), and which of them are valid: a user may have fewer.
    """
    # Sampled from the CPU's global random state on every device.
    noise = -torch.empty(log_weights.shape).exponential_().clamp_min(1e-20).log().to(log_weights)
    best = (log_weights + noise).topk(min(count, log_weights.shape[1]), 1)
    return best.indices, best.values.isfinite()


def sample_with_replacement(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` items per user with replacement, with probabilities proportional to the weights.

    Args:
        weights: (users, items), 0 where an item must not be sampled.

    Returns:
        Items (users, count) and which of them are valid: none for a user whose weights are all 0.
    """
    has_items = weights.amax(1, keepdim=True) > 0
    # Sampled from the CPU's global random state on every device.
    items = torch.multinomial((weights + ~has_items).float().cpu(), count, replacement=True).to(weights.device)
    return items, has_items.expand_as(items)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """The mean of the valid values; 0 if there are none."""
    return torch.where(valid, values, 0).sum() / valid.sum().clamp_min(1)


class SoftLabels(ScoreLoss):
    """Base of losses with the teacher's soft labels on `count` sampled items per user."""

    def __init__(self, count: int, temperature: float) -> None:
        super().__init__()
        self.count, self.temperature = integer("count", count), positive("temperature", temperature)

    def cross_entropy(self, student: Tensor, teacher: Tensor, items: Tensor, valid: Tensor) -> Tensor:
        """BCE to the teacher's soft labels, the mean over the sampled `items` (users, count) that are `valid`."""
        soft = (teacher.gather(1, items) / self.temperature).sigmoid()
        return masked_mean(F.binary_cross_entropy_with_logits(student.gather(1, items), soft, reduction="none"), valid)
