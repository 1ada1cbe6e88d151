"""Full topology distillation for recommenders: the similarities of all pairs of entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from srkd.losses.base import Example, Loss
from srkd.losses.numeric import l2_normalise
from srkd.losses.registry import register


@register("ftd")
class FullTopology(Loss):
    """sum over pairs of entities (i, j) of (cos_t - cos_s)^2, each pair in both orders.

    The entities of all layers are pooled: with users in one layer and items in another, user-item pairs count as
    user-user pairs do.

    Shapes: lists of vectors (N, D_s) and (N, D_t), the same N entities per layer, one D per side; any range; a zero
    vector has cosine 0 to all. Default weight: recommenders 0.001 to 0.1; SR none. Cost: N (D_s + D_t)^2
    multiply-adds, N summed over layers, memory (D_s + D_t)^2.
    Source: Kang et al., "Topology Distillation for Recommender System", KDD 2021 (arXiv:2106.08700). Official code:
    SeongKu-Kang/Topology_Distillation_KDD21, model.py (FTD).
    """

    layers: ClassVar[str] = "list"
    shapes: ClassVar[str] = "vectors"
    zero_at_equal = True

    def check_layers(self, student: Sequence[Tensor], teacher: Sequence[Tensor] | None) -> None:
        super().check_layers(student, teacher)
        assert teacher is not None
        check_entities(student, teacher)

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], target: Tensor | None = None, **context: Any
    ) -> Tensor:
        # For unit rows T and S: |T T' - S S'|^2 = |T' T|^2 - 2 |T' S|^2 + |S' S|^2, without a matrix of all pairs. The
        # terms are large and nearly cancel, hence float64.
        ours, theirs = (
            l2_normalise(torch.cat(list(student)).double(), 1),
            l2_normalise(torch.cat(list(teacher)).double(), 1),
        )
        squares = [(a.T @ b).square().sum() for a, b in ((theirs, theirs), (theirs, ours), (ours, ours))]
        return (squares[0] - 2 * squares[1] + squares[2]).to(student[0].dtype)

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = ([torch.randn(n, d, generator=rng) for n in (8, 5)] for d in (4, 6))
        return Example(student, teacher)


def check_entities(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    """Raise ValueError unless each side's vectors have one length and there are at least two of them."""
    for side, layers in (("student", student), ("teacher", teacher)):
        widths = sorted({m.shape[1] for m in layers})
        if len(widths) > 1:
            raise ValueError(
                f"compares entities across layers, but the {side}'s vectors have different sizes, {widths}"
            )
    if sum(map(len, student)) < 2:
        raise ValueError("needs at least 2 entities, got 1")
