"""Bayesian personalised ranking: of two items, the one of the higher class shall have the higher score."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, said, whole
from srkd.losses.registry import register
from srkd.losses.sampling import draw_again, mean_where


@register("bpr")
class BayesianPersonalisedRanking(Loss):
    """-log sigmoid(s_i - s_j), the mean over `pairs` pairs a user of a rated item i and an item j of a lower class.

    i is drawn evenly from the user's items with class > 0 and j from those whose class is known (>= 0); pairs of equal
    class count nothing, and a j of a higher class changes places with i. With classes 0 and 1 it is the paper's loss.

    Shapes: scores (users, items), any range; classes (users, items), whole numbers, negative where not to be drawn.
    Default weight: recommenders 1; SR none. Cost: two draws a pair.
    Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009 (arXiv:1205.2618).
    """

    kind: ClassVar[str] = "logits"
    reference: ClassVar[str] = "target"
    stochastic = True
    permutation_invariant = False

    def __init__(self, pairs: int = 50) -> None:
        super().__init__()
        self.pairs = whole("pairs", pairs)

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim != 2:
            raise ValueError(f"needs scores and classes (users, items), got {said(student, teacher)}")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        first, first_real = self._drawn(teacher > 0)
        second, second_real = self._drawn(teacher >= 0)
        order = (teacher.gather(1, first) - teacher.gather(1, second)).sign()
        difference = student.gather(1, first) - student.gather(1, second)
        return mean_where(F.softplus(-order * difference), first_real & second_real & (order != 0))

    def _drawn(self, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """`pairs` items a user, evenly from the allowed ones, and whether the user has any: (users, pairs) each."""
        return draw_again(allowed.float(), self.pairs)

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        return Example(torch.randn(4, 9, generator=rng), torch.randint(-1, 3, (4, 9), generator=rng))
