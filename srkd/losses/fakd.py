"""Affinity between all positions of a map (FAKD), computed in blocks."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.align import as_maps, match_size
from srkd.losses.base import Loss, integer
from srkd.losses.numeric import l2_normalise, with_gradient
from srkd.losses.registry import register


@register("fakd")
class FeatureAffinity(Loss):
    """mean |A_s - A_t|, A = n(F)^T n(F) between all positions (H W x H W), n the L2 normalisation over channels.

    Shapes: maps (N, C, H, W) of any channels, any range; maps of different size are average-pooled to the smaller, and
    both by `pool` x `pool` first (1 leaves them). Default weight: SR 1.0 (the paper's 1.0 alongside L1 to teacher and
    ground truth); classification 1.0.
    Cost: (C_t / 2 + 3 C_s / 2) N (H W)^2 multiply-adds: 4.8 G for (16, 16, 48, 48) against (16, 64, 48, 48), twice a
    50 K-parameter student's own step; `pool: 2` divides it by 16. The affinities exist only in blocks of 4 MB and the
    gradient is computed along with them: memory a few maps.
    Source: He et al., "FAKD: Feature-Affinity Based Knowledge Distillation for Efficient Image Super-Resolution",
    ICIP 2020.
    """

    shapes: ClassVar[str] = "maps"
    zero_at_equal = True

    def __init__(self, pool: int = 1) -> None:
        super().__init__()
        self.pool = integer("pool", pool)

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if self.pool > 1 and min(*as_maps(student).shape[2:], *as_maps(teacher).shape[2:]) < self.pool:
            raise ValueError(
                f"pool {self.pool} is larger than the maps: student {tuple(student.shape)}, "
                f"teacher {tuple(teacher.shape)}"
            )

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        maps = match_size(as_maps(student), as_maps(teacher))
        if self.pool > 1:
            maps = tuple(F.avg_pool2d(m, self.pool) for m in maps)  # type: ignore[assignment]
        # (N, H W, C): a copy for contiguous maps, free for channels_last ones.
        student, teacher = (l2_normalise(m.flatten(2).transpose(1, 2).contiguous(), 2) for m in maps)
        return affinity_difference(student, teacher)


def affinity_difference(student: Tensor, teacher: Tensor, entries: int = 2**20) -> Tensor:
    """mean |S S^T - T T^T| over samples and pairs of positions, for S (N, P, C_s) and T (N, P, C_t).

    S S^T - T T^T = [S T] [S -T]^T, one product for both. It is symmetric: blocks right of the diagonal count twice.
    """
    n, p, _ = student.shape
    value, gradient = student.new_zeros(()), torch.zeros_like(student)
    step = max(1, entries // p)
    with torch.no_grad():
        left, right = torch.cat((student, teacher), 2), torch.cat((student, -teacher), 2)
        for x, y, s, g in zip(left, right, student, gradient, strict=True):
            for i in range(0, p, step):
                j = min(i + step, p)
                block = x[i:j] @ y[i:j].T
                value += block.abs().sum()
                g[i:j].addmm_(block.sign_(), s[i:j])
                off_diagonal = x[i:j] @ y[j:].T
                value += 2 * off_diagonal.abs().sum()
                g[i:j].addmm_(off_diagonal.sign_(), s[j:])
                g[j:].addmm_(off_diagonal.T, s[i:j])
        count = n * p * p
    return with_gradient(value / count, {student: gradient.mul_(2 / count)})
