"""Ranks and weighted sampling of items for losses on score matrices (users, items).

All users are processed at once; `mask` is true at a user's training items, which are neither ranked nor sampled.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss, integer, positive, shapes_of

_LEAST = 1e-20  # of an exponential sample; it exceeds 40 once in 10^17 samples
_NOISE = math.log(40) - math.log(_LEAST)  # the most by which two samples of Gumbel noise differ


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
    """Each item's rank for its user, 0 the best, masked items last: integers (users, items). Of equals in any order."""
    keys = _keys(scores, mask)
    on_cpu = keys.device.type == "cpu"  # numpy sorts with AVX512 or AVX2, up to four times faster
    order = torch.from_numpy(np.argsort(keys.numpy(), 1)) if on_cpu else keys.argsort(dim=1)
    numbers = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, numbers)


def ranks_of(items: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """How many unmasked items of its user have a higher score than each item (users, k): integers (users, k)."""
    keys = _keys(scores, mask)
    ordered = torch.from_numpy(np.sort(keys.numpy(), 1)) if keys.device.type == "cpu" else keys.sort(dim=1).values
    return torch.searchsorted(ordered, keys.gather(1, items))


def _keys(scores: Tensor, mask: Tensor) -> Tensor:
    """What sorts the best item first and masked items last; of a type that numpy knows."""
    unseen = scores.detach().masked_fill(mask, -torch.inf)
    return unseen.neg().to(torch.promote_types(unseen.dtype, torch.float32))


def best_items(scores: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best items of each user, the best first.

    Returns:
        Items (users, k), k = min(count, items), and which of them are not masked: a user may have fewer.
    """
    best = scores.masked_fill(mask, -torch.inf).topk(min(count, scores.shape[1]), 1)
    return best.indices, best.values > -torch.inf


def sample_by_rank(possible: Tensor, count: int, decay: float) -> Tensor:
    """`count` positions in each user's list of items without replacement, with probabilities ~ exp(-position / decay).

    Args:
        possible: (users, items of the list), bool; `reach` says how long a list can matter.

    Returns:
        Positions (users, k), k = min(count, items of the list), in order; a user may have fewer that are possible.
    """
    log_weights = -torch.arange(possible.shape[1], dtype=torch.float32, device=possible.device) / decay
    return sample_without_replacement(log_weights.where(possible, -torch.inf), count)[0].sort(dim=1).values


def reach(count: int, decay: float) -> int:
    """How many positions `sample_by_rank` can sample from: noise lifts none that follow above the first."""
    return count + math.ceil(_NOISE * decay)


def sample_without_replacement(log_weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` items per user without replacement, with probabilities proportional to the weights (Gumbel top-k).

    Args:
        log_weights: (users, items); -inf where an item must not be sampled.

    Returns:
        Items (users, k), k = min(count, items), and which of them are valid: a user may have fewer.
    """
    # Sampled from the CPU's global random state on every device.
    noise = -torch.empty(log_weights.shape).exponential_().clamp_min(_LEAST).log().to(log_weights)
    best = (log_weights + noise).topk(min(count, log_weights.shape[1]), 1)
    return best.indices, best.values.isfinite()


def sample_uniformly(allowed: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`count` of the items (users, items) that are allowed, without replacement; returns as above."""
    # Sampled from the CPU's global random state on every device.
    keys = torch.rand(allowed.shape).to(allowed.device).masked_fill(~allowed, -1)
    best = keys.topk(min(count, allowed.shape[1]), 1)
    return best.indices, best.values >= 0


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
