"""Ranking distillation: the student scores high what the teacher ranks first."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, positive, whole
from srkd.losses.registry import register


@register("rd")
class RankingDistillation(Loss):
    """sum over the teacher's top K of w_r (-log sigmoid(s)), w ~ exp(-r / decay) summing to 1; the mean over users.

    r = 0, 1, ... is an item's place among the teacher's unobserved items. (The paper's second weight, by how far the
    student's rank lies behind the teacher's, is not part of this loss.)

    Shapes: scores (users, items) of any range; `mask` (users, items) true at the training items, which are not ranked.
    Default weight: recommenders 0.1 to 1; SR none. Cost: one top-K over the teacher's scores.
    Source: Tang and Wang, "Ranking Distillation", KDD 2018 (arXiv:1809.07428).
    """

    kind: ClassVar[str] = "logits"
    needs = ("mask",)

    def __init__(self, top: int = 10, decay: float = 10.0) -> None:
        super().__init__()
        self.top, self.decay = whole("top", top), positive("decay", decay)

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        if student.ndim != 2 or student.shape != teacher.shape:
            got = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
            raise ValueError(f"needs scores (users, items) of one shape, got {got}")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        unobserved = teacher.masked_fill(context["mask"], -torch.inf)
        best = unobserved.topk(min(self.top, teacher.shape[1]), 1)
        places = torch.arange(best.indices.shape[1]).to(student)
        weight = (-places / self.decay).softmax(0) * best.values.isfinite()
        return (weight * F.softplus(-student.gather(1, best.indices))).sum(1).mean()

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = torch.randn(4, 9, generator=rng), torch.randn(4, 9, generator=rng)
        return Example(student, teacher, context={"mask": torch.rand(4, 9, generator=rng) < 0.3}, options={"top": 3})
