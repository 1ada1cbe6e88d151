"""Decoupled distillation of class probabilities (DKD)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from srkd.losses.base import positive
from srkd.losses.logits import Logits, divergence, flat_labels, rows, zero_ignored
from srkd.losses.registry import register


@register("dkd")
class DecoupledKD(Logits):
    """(alpha TCKD + beta NCKD) T^2, each the mean over the batch; alpha 1, beta 8.

    TCKD is the KL between (p_true, 1 - p_true) of teacher and student; NCKD the KL between their distributions over the
    other classes, renormalised. `kd` couples the two by weighting NCKD with the teacher's 1 - p_true.

    Shapes: logits (N, C) or (N, C, ...), C >= 2, any range; `target` labels (N) or (N, ...), 0 to C - 1; those equal to
    `ignore_index`, and those where `mask` (N, ...) is 0 or false, do not count, as in `kd`.
    Default weight: classification 1.0 alongside cross-entropy; SR none. Cost: as `kd`, twice.
    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022 (arXiv:2203.08679); mdistiller:
    mdistiller/distillers/DKD.py.
    """

    zero_at_equal = True

    def __init__(
        self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0, ignore_index: int | None = -100
    ) -> None:
        super().__init__(ignore_index)
        self.alpha, self.beta = positive("alpha", alpha, zero=True), positive("beta", beta, zero=True)
        self.temperature = positive("temperature", temperature)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        labels = flat_labels(self, target, student)
        counts = self.row_mask(student, target, context.get("mask"))
        if counts is not None:
            labels = labels.masked_fill(~counts, 0)
        (two_s, rest_s), (two_t, rest_t) = (
            self._parts(zero_ignored(rows(x), counts), labels) for x in (student, teacher)
        )
        target_part, other_part = divergence(two_s, two_t, counts), divergence(rest_s, rest_t, counts)
        return (self.alpha * target_part + self.beta * other_part) * self.temperature**2

    def _parts(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of (true, not true), (M, 2), and of the other classes, renormalised, (M, C - 1)."""
        scaled = logits / self.temperature
        others = torch.arange(scaled.shape[1] - 1, device=scaled.device).expand(len(scaled), -1)
        rest = scaled.gather(1, others + (others >= labels[:, None]))
        two = torch.stack((scaled.gather(1, labels[:, None])[:, 0], rest.logsumexp(1)), 1)
        return two.log_softmax(1), rest.log_softmax(1)
