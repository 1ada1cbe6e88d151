"""The flow between two layers, the second moments of their features (FSP)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import as_maps, factory_kwargs
from srkd.losses.base import Example, Loss, unprepared
from srkd.losses.registry import register


@register("fsp")
class FSP(Loss):
    """Summed over pairs of adjacent layers, mean (G_s - G_t)^2, G = the mean over positions of a b^T (C_a x C_b).

    Where channels differ, a learned linear map (no bias) projects the student's to the teacher's; it is applied to G,
    which is equivalent to applying it to the maps and much cheaper.

    Shapes: lists of two or more maps (N, C, H, W), any range; in each pair all four maps are average-pooled to the
    smallest. Default weight: SR 1.0 on features of unit scale; classification 50. Cost: C_a C_b N H W multiply-adds per
    side and pair, memory N C_a C_b.
    Source: Yim et al., "A Gift from Knowledge Distillation", CVPR 2017.
    """

    layers: ClassVar[str] = "list"
    shapes: ClassVar[str] = "maps"
    zero_at_equal = True

    def __init__(self) -> None:
        super().__init__()
        self.projections: nn.ModuleList | None = None

    def check_layers(self, student: Sequence[Tensor], teacher: Sequence[Tensor] | None) -> None:
        super().check_layers(student, teacher)
        if len(student) < 2:
            raise ValueError("needs at least two layers per side, got 1")

    def fit(self, student: Sequence[Tensor], teacher: Sequence[Tensor], **context: Any) -> None:
        self.projections = nn.ModuleList(
            nn.Identity() if s.shape[1] == t.shape[1] else nn.Linear(s.shape[1], t.shape[1], False, **factory_kwargs(s))
            for s, t in zip(student, teacher, strict=True)
        )

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], target: Tensor | None = None, **context: Any
    ) -> Tensor:
        if self.projections is None:
            raise unprepared(self, "projections")
        total = student[0].new_zeros(())
        quads = zip(pairwise(student), pairwise(teacher), pairwise(self.projections), strict=True)
        for (a, b), (c, d), (project_a, project_b) in quads:
            flow_s, flow_t = self._flows(a, b, c, d)
            flow_s = project_a(project_b(flow_s).transpose(1, 2)).transpose(1, 2)
            total = total + F.mse_loss(flow_s, flow_t)
        return total

    @staticmethod
    def _flows(*maps: Tensor) -> tuple[Tensor, Tensor]:
        """G (N, C_a, C_b) of the first two maps and of the last two, all pooled to the smallest of the four."""
        shaped = [as_maps(m) for m in maps]
        size = (min(m.shape[2] for m in shaped), min(m.shape[3] for m in shaped))
        a, b, c, d = ((m if m.shape[2:] == size else F.adaptive_avg_pool2d(m, size)).flatten(2) for m in shaped)
        return a @ b.transpose(1, 2) / a.shape[2], c @ d.transpose(1, 2) / c.shape[2]

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        shapes = ((3, 4, 6, 6), (3, 5, 6, 6), (3, 4, 3, 3))
        student, teacher = ([torch.randn(shape, generator=rng) for shape in shapes] for _ in range(2))
        return Example(student, teacher)
