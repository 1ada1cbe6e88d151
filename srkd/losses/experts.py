"""Distillation experts: which of several maps rebuilds a teacher's vector is decided by that vector."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import like
from srkd.losses.base import Example, Loss, positive, unprepared, whole
from srkd.losses.registry import register


@register("de")
class DistillationExperts(Loss):
    """sum over entities of ||t - sum_m g_m E_m(s)||^2, g a Gumbel-softmax of a learned linear map of t.

    E_m are `experts` small networks (Linear, ReLU, Linear) from the student's dimension to the teacher's, with hidden
    layers halfway between. The gate's temperature falls from `first` to `last` exponentially with the training's
    progress, so that in the end one expert answers for an entity.

    Shapes: vectors (N, D_s) and (N, D_t) of the same N entities, any range; `progress` from 0 to 1. Default weight:
    recommenders 1e-4 to 1e-2, for it is a sum; SR none. Cost: N `experts` (D_s + D_t)^2 / 2 multiply-adds.
    Source: Kang et al., "DE-RRD: A Knowledge Distillation Framework for Recommender System", CIKM 2020
    (arXiv:2012.04357).
    """

    shapes: ClassVar[str] = "vectors"
    needs = ("progress",)
    stochastic = True
    permutation_invariant = False

    def __init__(self, experts: int = 5, first: float = 1.0, last: float = 1e-10) -> None:
        super().__init__()
        self.number, self.first, self.last = whole("experts", experts), positive("first", first), positive("last", last)
        self.gate: nn.Linear | None = None
        self.experts: nn.ModuleList | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        ours, theirs, where = student.shape[1], teacher.shape[1], like(student)
        between = (ours + theirs) // 2
        self.gate = nn.Linear(theirs, self.number, **where)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(ours, between, **where), nn.ReLU(), nn.Linear(between, theirs, **where))
            for _ in range(self.number)
        )

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.gate is None or self.experts is None:
            raise unprepared(self, "experts")
        temperature = self.first * (self.last / self.first) ** context["progress"]
        odds = self.gate(teacher)
        # -log of an exponential draw is a Gumbel draw; drawn on the CPU, so that its global state decides.
        noise = -torch.empty(odds.shape).exponential_().clamp_min(1e-20).log().to(odds)
        share = F.softmax((odds + noise) / temperature, 1)
        predictions = torch.stack([expert(student) for expert in self.experts], 1)
        return (teacher - (share[:, :, None] * predictions).sum(1)).square().sum()

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = torch.randn(6, 3, generator=rng), torch.randn(6, 5, generator=rng)
        return Example(student, teacher, context={"progress": 0.25}, options={"experts": 3})
