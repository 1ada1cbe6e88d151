"""Similarities between instances as probabilities (PKT)."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from srkd.losses.numeric import cosines
from srkd.losses.registry import register
from srkd.losses.relation import Relation


@register("pkt")
class ProbabilisticTransfer(Relation):
    """mean over pairs of q_t log(q_t / q_s), q = (cos + 1) / 2 with each row divided by its sum.

    Shapes: maps (N, C, H, W) or vectors (N, C) of any channels, any range. Default weight: SR 1000 with patches or
    pixels; classification 30000. Cost: b^2 D multiply-adds per side, memory b^2 and the flattened maps (channels_last
    maps are not copied): 16 images of 64 x 48 x 48 take 0.04 G, 256 pixels of 64 channels 0.004 G.
    Source: Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018
    (arXiv:1803.10837). RepDistiller: distiller_zoo/PKT.py, on a classifier's pooled features (`instances: pooled`).
    """

    zero_at_equal = True

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        log_s, log_t = (_log_rows((cosines(v) + 1) / 2) for v in self.vectors(student, teacher))
        return F.kl_div(log_s, log_t, reduction="sum", log_target=True) / log_s.numel()


def _log_rows(similar: Tensor) -> Tensor:
    # Exactly opposite instances have similarity 0; the floor keeps their logarithm finite.
    return (similar / similar.sum(1, keepdim=True)).clamp_min(1e-7).log()
