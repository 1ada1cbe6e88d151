"""Distillation of class probabilities (Hinton's KD)."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import positive
from srkd.losses.logits import Logits, divergence, rows, zero_ignored
from srkd.losses.registry import register


@register("kd")
class KD(Logits):
    """KL(softmax(t / T) || softmax(s / T)) T^2: the sum over classes, the mean over the batch (and over positions).

    Padded positions do not count: those whose integer label in `target` (N, ...), if given, is `ignore_index` (with
    None all count, e.g. for unlabelled examples), and those where `mask` (N, ...), e.g. an attention mask, is 0 or
    false. If none is left the loss is 0.

    Shapes: logits (N, C) or (N, C, ...), C >= 2, any range. Default weight: classification 0.9 alongside 0.1
    cross-entropy; SR none: an image is not a distribution over its channels; the regression form is `output`.
    Cost: two softmaxes; time and memory a few passes over the logits.
    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (arXiv:1503.02531); T = 4.
    RepDistiller: distiller_zoo/KD.py.
    """

    zero_at_equal = True

    def __init__(self, temperature: float = 4.0, ignore_index: int | None = -100) -> None:
        super().__init__(ignore_index)
        self.temperature = positive("temperature", temperature)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        counts = self.row_mask(student, target, context.get("mask"))
        if counts is not None:
            student, teacher = (zero_ignored(rows(x), counts) for x in (student, teacher))
        log_student, log_teacher = (F.log_softmax(x / self.temperature, dim=1) for x in (student, teacher))
        return divergence(log_student, log_teacher, counts) * self.temperature**2
