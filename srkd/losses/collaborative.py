"""Soft labels on drawn items: collaborative distillation, and its form for two networks that teach each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import positive, whole
from srkd.losses.registry import register
from srkd.losses.sampling import OfScores, draw, mean_where, places


class _SoftLabels(OfScores):
    def __init__(self, count: int, temperature: float) -> None:
        super().__init__()
        self.count, self.temperature = whole("count", count), positive("temperature", temperature)

    def cross_entropy(self, student: Tensor, teacher: Tensor, log_weights: Tensor) -> Tensor:
        items, real = draw(log_weights, self.count)
        soft = (teacher.gather(1, items) / self.temperature).sigmoid()
        return mean_where(F.binary_cross_entropy_with_logits(student.gather(1, items), soft, reduction="none"), real)


@register("cd")
class CollaborativeDistillation(_SoftLabels):
    """BCE(sigmoid(s), sigmoid(t / temperature)), the mean over `count` unobserved items a user drawn ~ exp(-rank /
    decay).

    rank = 0, 1, ... is an item's place in the teacher's ranking of the user's unobserved items.

    Shapes: scores (users, items), logits of any range; `mask` (users, items) true at the training items. Default
    weight: recommenders 0.1 to 1; SR none. Cost: one sort of the teacher's scores.
    Source: Lee et al., "Collaborative Distillation for Top-N Recommendation", ICDM 2019 (arXiv:1911.05276).
    """

    def __init__(self, count: int = 50, decay: float = 10.0, temperature: float = 1.0) -> None:
        super().__init__(count, temperature)
        self.decay = positive("decay", decay)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        mask = context["mask"]
        log_weights = -places(teacher, mask).to(teacher) / self.decay
        return self.cross_entropy(student, teacher, log_weights.masked_fill(mask, -torch.inf))


@register("bd")
class BidirectionalDistillation(_SoftLabels):
    """BCE(sigmoid(own), sigmoid(other / temperature)), the mean over `count` unobserved items a user drawn ~ tanh(eps
    (rank_own - rank_other))_+.

    Items that the other network ranks higher than this one does are where it has something to say. Used both ways: the
    student learns from the teacher and, in the same step, the teacher from the student. Where the rankings are equal it
    is 0.

    Shapes: scores (users, items), logits of any range; `mask` (users, items) true at the training items. Default
    weight: recommenders 0.1 to 1; SR none. Cost: two sorts.
    Source: Kweon et al., "Bidirectional Distillation for Top-K Recommender System", WWW 2021 (arXiv:2106.02870).
    """

    def __init__(self, count: int = 50, eps: float = 0.01, temperature: float = 1.0) -> None:
        super().__init__(count, temperature)
        self.eps = positive("eps", eps)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        mask = context["mask"]
        behind = places(student.detach(), mask) - places(teacher, mask)
        weights = (self.eps * behind).tanh().clamp_min(0).masked_fill(mask, 0)
        return self.cross_entropy(student, teacher, weights.log().to(teacher))
