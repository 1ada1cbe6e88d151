"""Similarities between instances (SP)."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from srkd.losses.numeric import gram, inverse_norm, scaled_to_one
from srkd.losses.registry import register
from srkd.losses.relation import Relation


@register("sp")
class SimilarityPreserving(Relation):
    """||rownorm(F_s F_s^T) - rownorm(F_t F_t^T)||_F^2 / b^2: which instances activate a layer similarly.

    Shapes: maps (N, C, H, W) or vectors (N, C) of any channels, any range. Default weight: SR 1000 with patches or
    pixels; classification 3000. Cost: b^2 D multiply-adds per side, memory b^2 and the flattened maps (channels_last
    maps are not copied): 16 images of 64 x 48 x 48 take 0.04 G, 256 pixels of 64 channels 0.004 G.
    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019 (arXiv:1907.09682). RepDistiller:
    distiller_zoo/SP.py, on flattened maps, which is `instances: image`.
    """

    zero_at_equal = True

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        student, teacher = self.vectors(student, teacher)
        return F.mse_loss(_row_unit(gram(student)), _row_unit(gram(teacher)))


def _row_unit(products: Tensor) -> Tensor:
    scaled = scaled_to_one(products, 1)
    return scaled * inverse_norm(scaled.square().sum(1, keepdim=True))
