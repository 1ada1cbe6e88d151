"""Soft labels on sampled items: collaborative distillation and its bidirectional form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import choice, integer, positive
from srkd.losses.registry import register
from srkd.losses.sampling import ScoreLoss, masked_mean, ranks, sample_with_replacement, sample_without_replacement


class _SoftLabels(ScoreLoss):
    def __init__(self, count: int, temperature: float) -> None:
        super().__init__()
        self.count, self.temperature = integer("count", count), positive("temperature", temperature)

    def cross_entropy(self, student: Tensor, teacher: Tensor, items: Tensor, valid: Tensor) -> Tensor:
        """BCE to the teacher's soft labels, the mean over the sampled `items` (users, count) that are `valid`."""
        soft = (teacher.gather(1, items) / self.temperature).sigmoid()
        return masked_mean(F.binary_cross_entropy_with_logits(student.gather(1, items), soft, reduction="none"), valid)


@register("cd")
class CollaborativeDistillation(_SoftLabels):
    """BCE(sigmoid(s), sigmoid(t / temperature)), the mean over `count` unobserved items per user, sampled ~ exp(-rank
    / decay).

    rank = 0, 1, ... is an item's rank among the user's unobserved items by the teacher's scores.

    Shapes: scores (users, items), logits of any range; `mask` (users, items) true at the training items. Default
    weight: recommenders 0.1 to 1; SR none. Cost: one sort of the teacher's scores.
    Source: Lee et al., "Collaborative Distillation for Top-N Recommendation", ICDM 2019 (arXiv:1911.05276).
    """

    def __init__(self, count: int = 50, decay: float = 10.0, temperature: float = 1.0) -> None:
        super().__init__(count, temperature)
        self.decay = positive("decay", decay)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        mask = self.observed(student, context["mask"])
        log_weights = -ranks(teacher, mask).to(teacher) / self.decay
        return self.cross_entropy(
            student, teacher, *sample_without_replacement(log_weights.masked_fill(mask, -torch.inf), self.count)
        )


@register("bd")
class BidirectionalDistillation(_SoftLabels):
    """BCE(sigmoid(own), sigmoid(other / temperature)), the mean over `count` unobserved items per user, sampled with
    replacement ~ tanh(eps (rank_own - rank_other))_+, or ~ exp(eps (rank_own - rank_other)) for the teacher.

    Used in both directions in one step: the student learns from the teacher (`direction: to_student`), the teacher
    from the student (`to_teacher`). The student learns only from items that the teacher ranks higher than it does, so
    that its loss is 0 where the rankings are equal; the teacher learns from all items, but slightly more often from
    those that the student ranks higher. Ranks count from the best, as in the paper; the official code's count from the
    worst.

    Shapes: scores (users, items), logits of any range; `mask` (users, items) true at the training items. Default
    weight: recommenders 0.1 to 1 (the paper's 0.5); SR none. Cost: two sorts.
    Source: Kweon et al., "Bidirectional Distillation for Top-K Recommender System", WWW 2021 (arXiv:2106.02870).
    Official code: WonbinKweon/BD_WWW2021, BD_WWW2021_CDAE_CiteULike.ipynb: eps 1e-4, temperature 2.
    """

    def __init__(
        self, count: int = 50, eps: float = 1e-4, temperature: float = 2.0, direction: str = "to_student"
    ) -> None:
        super().__init__(count, temperature)
        self.eps, self.direction = positive("eps", eps), choice("direction", direction, ("to_student", "to_teacher"))

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        mask = self.observed(student, context["mask"])
        behind = self.eps * (ranks(student.detach(), mask) - ranks(teacher, mask))
        if self.direction == "to_student":
            weights = behind.tanh().clamp_min(0)
        else:
            weights = (behind - behind.amax(1, keepdim=True)).exp()
        return self.cross_entropy(student, teacher, *sample_with_replacement(weights.masked_fill(mask, 0), self.count))
