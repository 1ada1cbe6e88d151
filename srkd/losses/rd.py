"""Ranking distillation: the student scores the teacher's top items high."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import integer, positive
from srkd.losses.registry import register
from srkd.losses.sampling import ScoreLoss, ranks_of


@register("rd")
class RankingDistillation(ScoreLoss):
    """sum over the teacher's top K of w_r (-log sigmoid(s)), w ~ exp(-r / decay) summing to 1; the mean over users.

    r = 0, 1, ... is an item's rank among the user's unobserved items by the teacher's scores. With `catch_up` mu above
    0 a term is also multiplied by tanh(mu (rank_s - rank_t))_+: items that the student already ranks as high are
    ignored. These dynamic weights start after the share `static` of the training. The official code's settings are mu
    0.1 and static 0.2 (10 of 50 epochs); it estimates rank_s from 100 sampled items, which is exact here.

    Shapes: scores (users, items) of any range; `mask` (users, items) true at the training items, which are not ranked;
    `progress` from 0 to 1 if `static` is above 0. Default weight: recommenders 0.1 to 1; SR none. Cost: one top-K
    over the teacher's scores; `catch_up` sorts the student's.
    Source: Tang and Wang, "Ranking Distillation", KDD 2018 (arXiv:1809.07428). Official code:
    graytowne/rank_distill, distill_caser.py, losses.py.
    """

    stochastic = False
    permutation_invariant = True

    def __init__(self, top: int = 10, decay: float = 1.0, catch_up: float = 0.0, static: float = 0.0) -> None:
        super().__init__()
        self.top, self.decay = integer("top", top), positive("decay", decay)
        self.catch_up, self.static = positive("catch_up", catch_up, zero=True), positive("static", static, zero=True)
        if static and not catch_up:
            raise ValueError("static sets when catch_up starts, but catch_up is 0: set catch_up too")
        if static:
            self.needs = ("mask", "progress")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        mask = self.observed(student, context["mask"])
        best = teacher.masked_fill(mask, -torch.inf).topk(min(self.top, teacher.shape[1]), 1)
        positions = torch.arange(best.indices.shape[1]).to(student)
        weight = (-positions / self.decay).softmax(0) * best.values.isfinite()
        if self.catch_up and (not self.static or context["progress"] >= self.static):
            behind = ranks_of(best.indices, student, mask) - positions
            weight = weight * (self.catch_up * behind).tanh().clamp_min(0)
        return (weight * F.softplus(-student.gather(1, best.indices))).sum(1).mean()
