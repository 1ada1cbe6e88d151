"""Bayesian personalised ranking: of two items, the one with the higher class should score higher."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, integer, shapes_of
from srkd.losses.registry import register
from srkd.losses.sampling import masked_mean, sample_with_replacement


@register("bpr")
class BayesianPersonalisedRanking(Loss):
    """-log sigmoid(s_i - s_j), the mean over `pairs` pairs per user of a rated item i and an item j of a lower class.

    i is sampled uniformly from the user's items of class > 0 and j from those of known class (>= 0); pairs of equal
    class are ignored, and i and j are swapped where j has the higher class. With classes 0 and 1 it is the paper's
    loss.

    Shapes: scores (users, items), any range; classes (users, items), integers, negative for items that must not be
    sampled.
    Default weight: recommenders 1; SR none. Cost: two samples per pair.
    Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009 (arXiv:1205.2618).
    """

    kind: ClassVar[str] = "logits"
    reference: ClassVar[str] = "target"
    stochastic = True
    permutation_invariant = False

    def __init__(self, pairs: int = 50) -> None:
        super().__init__()
        self.pairs = integer("pairs", pairs)

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim != 2:
            raise ValueError(f"needs scores and classes (users, items), got {shapes_of(student, teacher)}")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        first, first_valid = self._sample(teacher > 0)
        second, second_valid = self._sample(teacher >= 0)
        order = (teacher.gather(1, first) - teacher.gather(1, second)).sign()
        difference = student.gather(1, first) - student.gather(1, second)
        return masked_mean(F.softplus(-order * difference), first_valid & second_valid & (order != 0))

    def _sample(self, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """`pairs` items per user, uniform over the allowed ones, and whether the user has any: (users, pairs) each."""
        return sample_with_replacement(allowed.float(), self.pairs)

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        return Example(torch.randn(4, 9, generator=rng), torch.randint(-1, 3, (4, 9), generator=rng))
