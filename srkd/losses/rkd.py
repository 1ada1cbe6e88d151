"""Distances and angles between instances (RKD)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import positive
from srkd.losses.numeric import gram, inverse_norm, with_gradient
from srkd.losses.registry import register
from srkd.losses.relation import Relation


@register("rkd")
class RelationalKD(Relation):
    """distance_weight smoothL1(d_s / mean d_s, d_t / mean d_t) + angle_weight smoothL1(angle_s, angle_t).

    d is the distance between two instances, divided by the mean over the positive ones; angle_ijk the cosine at i
    between the directions to j and to k; the means run over all pairs and all triples, including the diagonal.

    Shapes: maps (N, C, H, W) or vectors (N, C) of any channels, any range; 3 to 256 instances. Default weight: SR 0.1;
    classification 1.0. Cost: distances and angles both come from the Gram matrix, in double precision since
    differences of near-equal products cancel: b^2 D multiply-adds per side, then 15 b^3 operations in blocks of 8 MB;
    16 images are negligible, 256 patches or pixels (`samples`) cost about a 50 K-parameter student's step: use 64.
    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019 (arXiv:1904.05068): weights 25 and 50.
    RepDistiller: distiller_zoo/RKD.py, on a classifier's pooled features, which is `instances: pooled`.
    """

    zero_at_equal = True
    min_instances = 3
    max_instances = 256

    def __init__(
        self,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        instances: str = "image",
        patch: int = 8,
        samples: int = 256,
    ) -> None:
        super().__init__(instances, patch, samples)
        self.distance_weight = positive("distance_weight", distance_weight, zero=True)
        self.angle_weight = positive("angle_weight", angle_weight, zero=True)
        if not distance_weight and not angle_weight:
            raise ValueError("distance_weight and angle_weight are both 0: no term is left")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        dtype = student.dtype
        student, teacher = self.vectors(student, teacher)
        squares_s, squares_t = squared_distances(student), squared_distances(teacher)
        value = squares_s.new_zeros(())
        if self.distance_weight:
            value = value + self.distance_weight * F.smooth_l1_loss(_relative(squares_s), _relative(squares_t))
        if self.angle_weight:
            value = value + self.angle_weight * angle_difference(squares_s, squares_t)
        return value.to(dtype)


def squared_distances(vectors: Tensor) -> Tensor:
    """|x_i - x_j|^2 (b, b) in double precision; exactly zero where the two agree to one millionth of their length."""
    products = gram(vectors.double())
    lengths = products.diagonal()
    total = lengths[:, None] + lengths[None, :]
    squares = total - 2 * products
    return torch.where(squares > 1e-12 * total, squares, 0)


def _relative(squares: Tensor) -> Tensor:
    distinct = squares > 0
    distances = torch.where(distinct, torch.where(distinct, squares, 1).sqrt(), 0)
    return distances / (distances.sum() / distinct.sum().clamp_min(1)).clamp_min(1e-30)


def angle_difference(squares_s: Tensor, squares_t: Tensor, entries: int = 2**19) -> Tensor:
    """mean over all i, j, k of smoothL1(cos_s - cos_t) at i between j and k, from squared distances (b, b).

    With p = 1 / d the law of cosines gives cos_ijk = (d_ij^2 + d_ik^2 - d_jk^2) p_ij p_ik / 2. The b^3 cosines are
    computed in blocks of `entries`; the gradient is accumulated along with the value.
    """
    b = len(squares_s)
    value, gradient = squares_s.new_zeros(()), torch.zeros_like(squares_s)
    with torch.no_grad():
        inverse_s, inverse_t = inverse_norm(squares_s), inverse_norm(squares_t)
        for i in torch.arange(b).split(max(1, entries // b**2)):
            cos_s, cos_t = _cosines_at(i, squares_s, inverse_s), _cosines_at(i, squares_t, inverse_t)
            value += F.smooth_l1_loss(cos_s, cos_t, reduction="sum")
            if not squares_s.requires_grad:
                continue
            p = inverse_s[i]
            slope = torch.sub(cos_s, cos_t, out=cos_t).clamp_(-1, 1)
            turning = cos_s.mul_(slope).sum(2)
            slope.mul_(p[:, :, None]).mul_(p[:, None, :])
            gradient[i] += slope.sum(2) - p.square() * turning
            gradient -= slope.sum(0) / 2
    return with_gradient(value / b**3, {squares_s: gradient / b**3})


def _cosines_at(i: Tensor, squares: Tensor, inverse: Tensor) -> Tensor:
    sides, p = squares[i], inverse[i]
    cosines = sides[:, :, None] + sides[:, None, :]
    return cosines.sub_(squares).mul_(p[:, :, None]).mul_(p[:, None, :] / 2)
