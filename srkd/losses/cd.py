"""Collaborative distillation: the teacher's soft labels on sampled items."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from srkd.losses.base import positive
from srkd.losses.registry import register
from srkd.losses.sampling import SoftLabels, ranks, sample_without_replacement


@register("cd")
class CollaborativeDistillation(SoftLabels):
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
