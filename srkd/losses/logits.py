"""Distillation of class probabilities (Hinton's KD) and its decoupled form (DKD)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss, integer, positive, shapes_of
from srkd.losses.registry import register


class Logits(Loss):
    """Base of losses on logits (N, C) or (N, C, ...), classes in dimension 1, with labels (N) or (N, ...)."""

    kind: ClassVar[str] = "logits"

    def __init__(self, ignore_index: int | None) -> None:
        super().__init__()
        self.ignore_index = None if ignore_index is None else integer("ignore_index", ignore_index, low=-(2**31))

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim < 2:
            raise ValueError(f"needs logits (N, C, ...), got {shapes_of(student, teacher)}")
        if student.shape[1] < 2:
            raise ValueError(
                f"needs at least 2 classes, got {shapes_of(student, teacher)}: softmax of one logit is 1 on both sides "
                "and the loss 0; compare single outputs by the loss `output` (norm: l2), or give a binary classifier's "
                "logit z as the two logits (0, z)"
            )

    def row_mask(self, logits: Tensor, target: Tensor | None, mask: Tensor | None) -> Tensor | None:
        """Which of `rows(logits)` count: bool (M), or None if all do.

        Args:
            target: labels; rows labelled `ignore_index` do not count.
            mask: (N, ...), zero or false for rows that do not count.

        Raises:
            SrkdError: the shape does not match the logits', e.g. if classes are in the last dimension.
        """
        expected, counts = logits.shape[:1] + logits.shape[2:], None
        labelled = target is not None and not target.is_floating_point() and self.ignore_index is not None
        for name, given in (("mask", mask), ("labels", target if labelled else None)):
            if given is None:
                continue
            if given.shape != expected:
                # Features and scores that are compared as logits have no labels.
                if name == "labels" and not (logits.ndim == 3 and given.shape == logits.shape[:2]):
                    continue
                raise SrkdError(
                    f"{self.name}: needs {name} of shape {tuple(expected)} for logits {tuple(logits.shape)} with "
                    f"classes in dimension 1, got {tuple(given.shape)}: transpose logits whose classes come last"
                )
            valid = (given.bool() if name == "mask" else given.ne(self.ignore_index or 0)).flatten()
            counts = valid if counts is None else counts & valid
        return counts

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        labels = torch.randint(5, (6,), generator=rng)
        return Example(torch.randn(6, 5, generator=rng), torch.randn(6, 5, generator=rng), labels)


def rows(logits: Tensor) -> Tensor:
    """(N, C, ...) logits as (M, C), one row per sample and position."""
    return logits.movedim(1, -1).flatten(0, -2)


def zero_ignored(rows: Tensor, counts: Tensor | None) -> Tensor:
    """Rows (M, C) with those that do not count set to 0: they may contain anything, even NaN."""
    return rows if counts is None else rows.masked_fill(~counts[:, None], 0)


def divergence(log_student: Tensor, log_teacher: Tensor, counts: Tensor | None = None) -> Tensor:
    """KL(teacher || student) of log-probabilities: the sum over classes (dimension 1), the mean over the rest.

    Args:
        counts: the rows (M) to average over; both sides must be equal in the others. 0 if there are none.
    """
    total = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    if counts is not None:
        return total / counts.sum().clamp_min(1)
    return total * log_student.shape[1] / log_student.numel()


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


def flat_labels(loss: Loss, target: Tensor | None, logits: Tensor) -> Tensor:
    """The labels (M) of `rows(logits)`.

    Raises:
        SrkdError: they are missing, not integers, or their shape does not match the logits'.
    """
    if target is None or target.is_floating_point() or target.shape != logits.shape[:1] + logits.shape[2:]:
        got = "nothing" if target is None else f"{target.dtype} of shape {tuple(target.shape)}"
        expected = tuple(logits.shape[:1] + logits.shape[2:])
        raise SrkdError(f"{loss.name}: needs labels, integers of shape {expected}, got {got}")
    return target.flatten().long()
