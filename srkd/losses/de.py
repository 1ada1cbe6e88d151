"""Distillation experts: a gate on the teacher's vector selects which of several small networks reconstructs it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import factory_kwargs
from srkd.losses.base import Example, Loss, integer, positive, unprepared
from srkd.losses.registry import register


@register("de")
class DistillationExperts(Loss):
    """sum over entities of ||t - sum_m g_m E_m(s)||^2, g a Gumbel-softmax of a learned linear map of t.

    E_m are `experts` small networks (Linear, ReLU, Linear) from the student's dimension to the teacher's, with hidden
    layers halfway hidden. The gate's temperature falls from `first` to `last` exponentially with the training's
    progress, so that in the end a single expert is selected per entity.

    Shapes: vectors (N, D_s) and (N, D_t) of the same N entities, any range; `progress` from 0 to 1. Default weight:
    recommenders 1e-4 to 1e-2, since it is a sum; SR none. Cost: N `experts` (D_s + D_t)^2 / 2 multiply-adds.
    Source: Kang et al., "DE-RRD: A Knowledge Distillation Framework for Recommender System", CIKM 2020
    (arXiv:2012.04357).
    """

    shapes: ClassVar[str] = "vectors"
    needs = ("progress",)
    stochastic = True
    permutation_invariant = False

    def __init__(self, experts: int = 5, first: float = 1.0, last: float = 1e-10) -> None:
        super().__init__()
        self.number, self.first, self.last = (
            integer("experts", experts),
            positive("first", first),
            positive("last", last),
        )
        self.gate: nn.Linear | None = None
        self.experts: nn.ModuleList | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        ours, theirs, factory = student.shape[1], teacher.shape[1], factory_kwargs(student)
        hidden = (ours + theirs) // 2
        self.gate = nn.Linear(theirs, self.number, **factory)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(ours, hidden, **factory), nn.ReLU(), nn.Linear(hidden, theirs, **factory))
            for _ in range(self.number)
        )

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.gate is None or self.experts is None:
            raise unprepared(self, "experts")
        temperature = self.first * (self.last / self.first) ** context["progress"]
        logits = self.gate(teacher)
        # -log of an exponential sample is a Gumbel sample. Sampled from the CPU's global random state on every device.
        noise = -torch.empty(logits.shape).exponential_().clamp_min(1e-20).log().to(logits)
        share = F.softmax((logits + noise) / temperature, 1)
        predictions = torch.stack([expert(student) for expert in self.experts], 1)
        return (teacher - (share[:, :, None] * predictions).sum(1)).square().sum()

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = torch.randn(6, 3, generator=rng), torch.randn(6, 5, generator=rng)
        return Example(student, teacher, context={"progress": 0.25}, options={"experts": 3})
