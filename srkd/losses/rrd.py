"""Relaxed ranking distillation: the student learns the order of the teacher's top items."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from srkd.losses.base import integer, positive
from srkd.losses.registry import register
from srkd.losses.sampling import ScoreLoss, best_items, sample_by_rank, sample_uniformly

_EXCLUDED = -1e30  # its exp is 0, and its differences stay finite


def relaxed_ranking(interesting: Tensor, uninteresting: Tensor) -> Tensor:
    """The terms -[S_k - log(sum_{i >= k} exp S_i + sum_j exp U_j)] of each user: (users, K).

    Their sum is minus the log likelihood of a ranking of the interesting items, all above the uninteresting ones, whose
    order does not matter.

    Args:
        interesting: scores S (users, K), the best item first.
        uninteresting: scores U (users, L).
    """
    following = interesting.flip(1).logcumsumexp(1).flip(1)
    rest = uninteresting.logsumexp(1, keepdim=True)
    return torch.logaddexp(following, rest) - interesting


@register("rrd")
class RelaxedRankingDistillation(ScoreLoss):
    """sum over users of -sum_k [S_k - log(sum_{i>=k} exp S_i + sum_uninteresting exp S_j)], S the student's scores.

    The `interesting` items S_1, S_2, ... are sampled from the teacher's `top` unobserved items with probabilities ~
    exp(-rank / decay) and sorted by its ranking; the `uninteresting` ones are sampled uniformly from the items below
    that list, so that items the teacher ranks high are not pushed down because they were not sampled. The list is
    limited to half of a user's unobserved items: the official 500 were chosen for 25,000. `relaxed_ranking` is the
    formula alone.

    Shapes: scores (users, items) of any range; `mask` (users, items) true at the training items, which are not sampled.
    Default weight: recommenders 1e-5 to 1e-2, since it is a sum; SR none. Cost: a top-K over the teacher's
    scores and one over as many random numbers.
    Source: Kang et al., "DE-RRD: A Knowledge Distillation Framework for Recommender System", CIKM 2020
    (arXiv:2012.04357). Official code: SeongKu-Kang/DE-RRD_CIKM20, Utils/dataset.py, Utils/loss.py.
    """

    def __init__(self, interesting: int = 40, uninteresting: int = 40, decay: float = 10.0, top: int = 500) -> None:
        super().__init__()
        self.interesting, self.uninteresting = (
            integer("interesting", interesting),
            integer("uninteresting", uninteresting),
        )
        self.decay, self.top = positive("decay", decay), integer("top", top)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        mask = self.observed(student, context["mask"])
        items, known = best_items(teacher, mask, self.top)
        length = (mask.shape[1] - mask.sum(1, keepdim=True) + 1) // 2
        listed = known & (torch.arange(items.shape[1], device=items.device) < length)
        positions = sample_by_rank(listed, self.interesting, self.decay)
        chosen, valid = items.gather(1, positions), listed.gather(1, positions)
        others, others_valid = sample_uniformly((~mask).scatter(1, items, known & ~listed), self.uninteresting)
        above = student.gather(1, chosen).masked_fill(~valid, _EXCLUDED)
        below = student.gather(1, others).masked_fill(~others_valid, _EXCLUDED)
        return torch.where(valid, relaxed_ranking(above, below), 0).sum()
