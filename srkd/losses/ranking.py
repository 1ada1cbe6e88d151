"""Ranking distillation: the student scores high what the teacher ranks first, or learns the order itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import positive, whole
from srkd.losses.registry import register
from srkd.losses.sampling import OfScores, draw, places

_NOWHERE = -1e30  # exp of it is 0, and differences of it stay finite


@register("rd")
class RankingDistillation(OfScores):
    """sum over the teacher's top K of w_r (-log sigmoid(s)), w ~ exp(-r / decay) summing to 1; the mean over users.

    r = 0, 1, ... is an item's place among the teacher's unobserved items. With `catch_up` mu above 0 a term is
    multiplied by tanh(mu (rank_s - rank_t))_+ too: what the student already ranks as high counts nothing. These dynamic
    weights begin when the share `static` of the training is over. The official code's settings are mu 0.1 and static
    0.2 (10 of 50 epochs); it estimates rank_s from 100 drawn items, which is exact here.

    Shapes: scores (users, items) of any range; `mask` (users, items) true at the training items, which are not ranked;
    `progress` from 0 to 1 where `static` is above 0. Default weight: recommenders 0.1 to 1; SR none. Cost: one top-K
    over the teacher's scores; `catch_up` sorts the student's.
    Source: Tang and Wang, "Ranking Distillation", KDD 2018 (arXiv:1809.07428). Official code:
    graytowne/rank_distill, distill_caser.py, losses.py.
    """

    stochastic = False
    permutation_invariant = True

    def __init__(self, top: int = 10, decay: float = 1.0, catch_up: float = 0.0, static: float = 0.0) -> None:
        super().__init__()
        self.top, self.decay = whole("top", top), positive("decay", decay)
        self.catch_up, self.static = positive("catch_up", catch_up, zero=True), positive("static", static, zero=True)
        if static and not catch_up:
            raise ValueError("static says when catch_up begins, which is 0: set catch_up too")
        if static:
            self.needs = ("mask", "progress")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        mask = self.observed(student, context["mask"])
        best = teacher.masked_fill(mask, -torch.inf).topk(min(self.top, teacher.shape[1]), 1)
        numbers = torch.arange(best.indices.shape[1]).to(student)
        weight = (-numbers / self.decay).softmax(0) * best.values.isfinite()
        if self.catch_up and (not self.static or context["progress"] >= self.static):
            behind = places(student.detach(), mask).gather(1, best.indices) - numbers
            weight = weight * (self.catch_up * behind).tanh().clamp_min(0)
        return (weight * F.softplus(-student.gather(1, best.indices))).sum(1).mean()


def relaxed_ranking(interesting: Tensor, uninteresting: Tensor) -> Tensor:
    """The terms -[S_k - log(sum_{i >= k} exp S_i + sum_j exp U_j)] of each user: (users, K).

    Their sum is minus the log likelihood of a ranking of the interesting items, all of them above the uninteresting
    ones, whose own order does not matter.

    Args:
        interesting: scores S (users, K), the best item first.
        uninteresting: scores U (users, L).
    """
    following = interesting.flip(1).logcumsumexp(1).flip(1)
    rest = uninteresting.logsumexp(1, keepdim=True)
    return torch.logaddexp(following, rest) - interesting


@register("rrd")
class RelaxedRankingDistillation(OfScores):
    """sum over users of -sum_k [S_k - log(sum_{i>=k} exp S_i + sum_uninteresting exp S_j)], S the student's scores.

    The `interesting` items S_1, S_2, ... are drawn from the teacher's `top` unobserved items with chances ~ exp(-rank /
    decay) and put in its order; the `uninteresting` ones are drawn evenly from the items below that list, so that
    nothing the teacher ranks high is pushed down for not being drawn. The list holds at most half of a user's
    unobserved items: the official 500 were chosen for 25,000. `relaxed_ranking` is the formula alone.

    Shapes: scores (users, items) of any range; `mask` (users, items) true at the training items, which are not drawn.
    Default weight: recommenders 1e-5 to 1e-2, for it is a sum; SR none. Cost: one sort of the teacher's scores.
    Source: Kang et al., "DE-RRD: A Knowledge Distillation Framework for Recommender System", CIKM 2020
    (arXiv:2012.04357). Official code: SeongKu-Kang/DE-RRD_CIKM20, Utils/dataset.py, Utils/loss.py.
    """

    def __init__(self, interesting: int = 40, uninteresting: int = 40, decay: float = 10.0, top: int = 500) -> None:
        super().__init__()
        self.interesting, self.uninteresting = whole("interesting", interesting), whole("uninteresting", uninteresting)
        self.decay, self.top = positive("decay", decay), whole("top", top)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        mask = self.observed(student, context["mask"])
        rank = places(teacher, mask)
        length = (((~mask).sum(1, keepdim=True) + 1) // 2).clamp_max(self.top)
        high = rank < length
        chosen, real = draw((-rank.to(teacher) / self.decay).masked_fill(mask | ~high, -torch.inf), self.interesting)
        order = rank.gather(1, chosen).argsort(1)
        chosen, real = chosen.gather(1, order), real.gather(1, order)
        evenly = torch.zeros_like(teacher).masked_fill(mask | high, -torch.inf)
        others, others_real = draw(evenly, self.uninteresting)
        above = student.gather(1, chosen).masked_fill(~real, _NOWHERE)
        below = student.gather(1, others).masked_fill(~others_real, _NOWHERE)
        return torch.where(real, relaxed_ranking(above, below), 0).sum()
