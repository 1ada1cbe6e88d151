"""Full topology: the relations of all pairs of entities, as recommenders distil them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from srkd.losses.base import Example, Loss
from srkd.losses.numeric import unit
from srkd.losses.registry import register


@register("ftd")
class FullTopology(Loss):
    """sum over pairs of entities (i, j) of (cos_t - cos_s)^2, each pair in both orders.

    Shapes: vectors (N, D_s) and (N, D_t) of the same N >= 2 entities, any range; a zero vector has cosine 0 to all.
    Default weight: recommenders 0.001 to 0.1; SR none. Cost: N (D_s + D_t)^2 multiply-adds, memory (D_s + D_t)^2.
    Source: Kang et al., "Topology Distillation for Recommender System", KDD 2021 (arXiv:2106.08700).
    """

    zero_at_equal = True

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher) or len(student) < 2:
            raise ValueError(
                f"needs vectors (N, D) of the same N >= 2 entities, got student {tuple(student.shape)}, "
                f"teacher {tuple(teacher.shape)}"
            )

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        # With unit rows T and S it is |T T' - S S'|^2 = |T' T|^2 - 2 |T' S|^2 + |S' S|^2: no matrix of all pairs. The
        # terms are large and nearly cancel, which float64 can bear.
        ours, theirs = unit(student.double(), 1), unit(teacher.double(), 1)
        squares = [(a.T @ b).square().sum() for a, b in ((theirs, theirs), (theirs, ours), (ours, ours))]
        return (squares[0] - 2 * squares[1] + squares[2]).to(student.dtype)

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        return Example(torch.randn(8, 4, generator=rng), torch.randn(8, 6, generator=rng))
