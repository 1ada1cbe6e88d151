"""Bidirectional distillation: soft labels on items that the two networks rank differently."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from srkd.losses.base import choice, positive
from srkd.losses.registry import register
from srkd.losses.sampling import SoftLabels, ranks, sample_with_replacement


@register("bd")
class BidirectionalDistillation(SoftLabels):
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
