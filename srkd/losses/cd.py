"""Collaborative distillation: the teacher's soft labels on sampled items."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from srkd.losses.base import positive
from srkd.losses.registry import register
from srkd.losses.sampling import SoftLabels, best_items, reach, sample_by_rank


@register("cd")
class CollaborativeDistillation(SoftLabels):
    """BCE(sigmoid(s), sigmoid(t / temperature)), the mean over `count` unobserved items per user, sampled ~ exp(-rank
    / decay).

    rank = 0, 1, ... is an item's rank among the user's unobserved items by the teacher's scores.

    Shapes: scores (users, items), logits of any range; `mask` (users, items) true at the training items. Default
    weight: recommenders 0.1 to 1; SR none. Cost: one top-K over the teacher's scores.
    Source: Lee et al., "Collaborative Distillation for Top-N Recommendation", ICDM 2019 (arXiv:1911.05276).
    """

    def __init__(self, count: int = 50, decay: float = 10.0, temperature: float = 1.0) -> None:
        super().__init__(count, temperature)
        self.decay = positive("decay", decay)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        mask = self.observed(student, context["mask"])
        items, possible = best_items(teacher, mask, reach(self.count, self.decay))
        positions = sample_by_rank(possible, self.count, self.decay)
        return self.cross_entropy(student, teacher, items.gather(1, positions), possible.gather(1, positions))
