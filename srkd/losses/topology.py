"""Hierarchical topology: relations within groups of entities and between groups, the groups learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import like
from srkd.losses.base import Example, Loss, positive, unprepared, whole
from srkd.losses.numeric import cosines
from srkd.losses.registry import register


@register("htd")
class HierarchicalTopology(Loss):
    """balance (within + between) + (1 - balance) hint.

    Each entity belongs to one of `groups`, drawn by Gumbel-softmax from a learned linear map of the *teacher's* vector.
    within: mean over pairs of one group of (cos_s - cos_t)^2. between: the mean over pairs of groups of the same for
    their centres. hint: mean (t - f_z(s))^2, f a learned linear map a group: it is what makes the groups meaningful,
    entities that one map can explain.

    Shapes: vectors (N, D_s) and (N, D_t), N >= 2, any range. Default weight: recommenders 0.001 to 0.1; SR none. Cost:
    N^2 (D_s + D_t) + N `groups` D_s D_t multiply-adds, memory N^2 + N `groups` D_t.
    Source: Kang et al., "Topology Distillation for Recommender System", KDD 2021 (arXiv:2106.08700).
    """

    stochastic = True
    permutation_invariant = False

    def __init__(self, groups: int = 8, balance: float = 0.5, temperature: float = 1.0) -> None:
        super().__init__()
        self.groups, self.temperature = whole("groups", groups, 2), positive("temperature", temperature)
        if positive("balance", balance, zero=True) > 1:
            raise ValueError(f"balance must be from 0 to 1, got {balance}")
        self.balance = balance
        self.assignment: nn.Linear | None = None
        self.hints: nn.Linear | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher) or len(student) < 2:
            raise ValueError(
                f"needs vectors (N, D) of the same N >= 2 entities, got student {tuple(student.shape)}, "
                f"teacher {tuple(teacher.shape)}"
            )
        theirs, where = teacher.shape[1], like(student)
        self.assignment = nn.Linear(theirs, self.groups, **where)
        self.hints = nn.Linear(student.shape[1], self.groups * theirs, **where)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.assignment is None or self.hints is None:
            raise unprepared(self, "groups")
        odds = self.assignment(teacher)
        # -log of an exponential draw is a Gumbel draw; drawn on the CPU, so that its global state decides.
        noise = -torch.empty(odds.shape).exponential_().clamp_min(1e-20).log().to(odds)
        soft = ((odds + noise) / self.temperature).softmax(1)
        hard = F.one_hot(soft.argmax(1), self.groups).to(soft)
        member = hard + soft - soft.detach()
        hinted = (self.hints(student).unflatten(1, (self.groups, -1)) * member[:, :, None]).sum(1)
        hint = F.mse_loss(hinted, teacher)
        together = hard @ hard.T
        within = ((cosines(student) - cosines(teacher)).square() * together).sum() / together.sum()
        share = hard / hard.sum(0).clamp_min(1)
        between = F.mse_loss(cosines(share.T @ student), cosines(share.T @ teacher))
        return self.balance * (within + between) + (1 - self.balance) * hint

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        return Example(torch.randn(8, 4, generator=rng), torch.randn(8, 6, generator=rng), options={"groups": 3})
