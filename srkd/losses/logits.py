"""Hinton's distillation of class probabilities, and its decoupled form."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.errors import SrkdError
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


@register("dkd")
class DecoupledKD(Logits):
    """(alpha TCKD + beta NCKD) T^2, each the mean over the batch; alpha 1, beta 8.

    TCKD is the KL between (p_true, 1 - p_true) of teacher and student; NCKD the KL between their distributions over the
    other classes, renormalised. `kd` couples the two by weighting NCKD with the teacher's 1 - p_true.

    Shapes: logits (N, C) or (N, C, ...), C >= 2, any range; `target` labels (N) or (N, ...), 0 to C - 1.
    Default weight: classification 1.0 beside cross-entropy; SR none. Cost: as `kd`, twice.
    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022 (arXiv:2203.08679).
    """

    zero_at_equal = True

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0) -> None:
        super().__init__()
        self.alpha, self.beta = positive("alpha", alpha, zero=True), positive("beta", beta, zero=True)
        self.temperature = positive("temperature", temperature)

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        super().fit(student, teacher, **context)
        if student.shape[1] < 2:
            raise ValueError(f"needs at least 2 classes, got logits of shape {tuple(student.shape)}")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        (two_s, rest_s), (two_t, rest_t) = (self._parts(x, target) for x in (student, teacher))
        target_part, other_part = divergence(two_s, two_t), divergence(rest_s, rest_t)
        return (self.alpha * target_part + self.beta * other_part) * self.temperature**2

    def _parts(self, logits: Tensor, target: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log-probabilities of (true, not true), (M, 2), and of the others among themselves, (M, C - 1)."""
        scaled = rows(logits / self.temperature)
        labels = labels_of(self, target, logits)
        others = torch.arange(scaled.shape[1] - 1, device=scaled.device).expand(len(scaled), -1)
        rest = scaled.gather(1, others + (others >= labels[:, None]))
        two = torch.stack((scaled.gather(1, labels[:, None])[:, 0], rest.logsumexp(1)), 1)
        return two.log_softmax(1), rest.log_softmax(1)


def labels_of(loss: Loss, target: Tensor | None, logits: Tensor) -> Tensor:
    """The labels (M) of `rows(logits)`.

    Raises:
        SrkdError: there are none, they are no whole numbers, or their shape does not go with the logits.
    """
    if target is None or target.is_floating_point() or target.shape != logits.shape[:1] + logits.shape[2:]:
        got = "nothing" if target is None else f"{target.dtype} of shape {tuple(target.shape)}"
        wanted = tuple(logits.shape[:1] + logits.shape[2:])
        raise SrkdError(f"{loss.name}: needs labels, whole numbers of shape {wanted}, got {got}")
    return target.flatten().long()
