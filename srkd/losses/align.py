"""Alignment of two networks' features: sizes by average pooling, channels by a learned 1x1 projection."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.base import Loss, unprepared


def as_maps(features: Tensor) -> Tensor:
    """(N, C) vectors as (N, C, 1, 1) maps; maps unchanged."""
    return features[:, :, None, None] if features.ndim == 2 else features


def match_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool the larger of two (N, C, H, W) maps to the smaller, height and width independently."""
    if student.shape[2:] != teacher.shape[2:]:
        size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
        student, teacher = F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
    return student, teacher


def match_layout(student: Tensor, teacher: Tensor) -> Tensor:
    """The teacher's maps in the student's memory format: one copy, instead of one in each operation on a mixed pair."""
    last = student.is_contiguous(memory_format=torch.channels_last) and not student.is_contiguous()
    return teacher.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def factory_kwargs(features: Tensor) -> dict[str, Any]:
    """Device and dtype of parameters applied to `features`: float64 for float64, else float32."""
    return {"device": features.device, "dtype": torch.float64 if features.dtype == torch.float64 else torch.float32}


def projection(student: Tensor, teacher: Tensor, *, bias: bool = True) -> nn.Module:
    """A 1x1 convolution from the student's channels to the teacher's; the identity where they are equal."""
    if student.shape[1] == teacher.shape[1]:
        return nn.Identity()
    return nn.Conv2d(student.shape[1], teacher.shape[1], 1, bias=bias, **factory_kwargs(student))


class Projected(Loss):
    """Base of losses that compare equal numbers of channels: `prepare` builds `projection` where they differ."""

    shapes: ClassVar[str] = "maps"

    def __init__(self) -> None:
        super().__init__()
        self.projection: nn.Module | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        self.projection = projection(student, teacher)

    def aligned(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Both as maps of one shape, the student's projected to the teacher's channels.

        Raises:
            SrkdError: the channels differ and `prepare` was not called.
        """
        student, teacher = match_size(as_maps(student), as_maps(teacher))
        if self.projection is not None:
            student = self.projection(student)
        if student.shape[1] != teacher.shape[1]:
            raise unprepared(self, "projection between different numbers of channels")
        return student, match_layout(student, teacher)
