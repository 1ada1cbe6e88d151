"""What losses on logits share: rows that count, labels, and the divergence of distributions."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss, integer, shapes_of


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
