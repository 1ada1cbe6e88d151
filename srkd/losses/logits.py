"""Hinton's distillation of class probabilities, and its decoupled form."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, positive
from srkd.losses.registry import register


class Logits(Loss):
    """Base of losses on logits (N, C) or (N, C, ...), classes in dimension 1, with labels (N) or (N, ...)."""

    kind: ClassVar[str] = "logits"

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        if student.shape != teacher.shape or student.ndim < 2:
            raise ValueError(
                f"needs logits (N, C, ...) of one shape, got student {tuple(student.shape)}, "
                f"teacher {tuple(teacher.shape)}"
            )

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        labels = torch.randint(5, (6,), generator=rng)
        return Example(torch.randn(6, 5, generator=rng), torch.randn(6, 5, generator=rng), labels)


def rows(logits: Tensor) -> Tensor:
    """(N, C, ...) logits as (M, C), one row for each classified thing."""
    return logits.movedim(1, -1).flatten(0, -2)


def divergence(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities: the sum over classes (dimension 1), the mean over all else."""
    total = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    return total * log_student.shape[1] / log_student.numel()


@register("kd")
class KD(Logits):
    """KL(softmax(t / T) || softmax(s / T)) T^2: the sum over classes, the mean over the batch (and over positions).

    Shapes: logits (N, C) or (N, C, ...), any range. Default weight: classification 0.9 beside 0.1 cross-entropy; SR
    none: a picture is no distribution over its channels, and its regression form is `output`.
    Cost: two softmaxes; time and memory a few passes over the logits.
    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (arXiv:1503.02531); T = 4.
    """

    zero_at_equal = True

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        log_student, log_teacher = (F.log_softmax(x / self.temperature, dim=1) for x in (student, teacher))
        return divergence(log_student, log_teacher) * self.temperature**2
