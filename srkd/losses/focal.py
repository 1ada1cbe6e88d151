"""Focal loss: cross-entropy with less weight on confident samples, which improves calibration."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, integer, positive
from srkd.losses.logits import flat_labels, rows, zero_ignored
from srkd.losses.registry import register


@register("focal")
class Focal(Loss):
    """mean of -(1 - p)^gamma log p, p the probability of the true class; gamma 2; gamma 0 is cross-entropy.

    Labels equal to `ignore_index` are ignored (padding); 0 if all are.

    Shapes: logits (N, C) or (N, C, ...), any range, against labels (N) or (N, ...), 0 to C - 1. Default weight:
    classification 1.0 in place of cross-entropy; SR none. Cost: one softmax.
    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (arXiv:1708.02002).
    """

    kind: ClassVar[str] = "logits"
    reference: ClassVar[str] = "target"

    def __init__(self, gamma: float = 2.0, ignore_index: int = -100) -> None:
        super().__init__()
        self.gamma = positive("gamma", gamma, zero=True)
        self.ignore_index = integer("ignore_index", ignore_index, low=-(2**31))

    def check(self, student: Tensor, teacher: Tensor | None) -> None:
        """Nothing to do: `flat_labels` compares labels with logits."""

    def gamma_of(self, probability: Tensor) -> Tensor | float:
        """The exponent for each true-class probability (M)."""
        return self.gamma

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        labels = flat_labels(self, teacher, student)
        counts = labels != self.ignore_index
        labels = labels.masked_fill(~counts, 0)
        log_p = F.log_softmax(zero_ignored(rows(student), counts), dim=1).gather(1, labels[:, None])[:, 0]
        # -expm1 keeps the digits of 1 - p where p is near 1; the floor keeps fractional powers differentiable at 0.
        complement = (-torch.expm1(log_p)).clamp_min(1e-12)
        values = complement ** self.gamma_of(log_p.detach().exp()) * log_p
        return -torch.where(counts, values, 0).sum() / counts.sum().clamp_min(1)

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        return Example(torch.randn(6, 5, generator=rng), torch.randint(5, (6,), generator=rng))
