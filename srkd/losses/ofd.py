"""Matches the part of features that passes the activation (OFD)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from srkd.losses.align import Projected, as_maps, factory_kwargs, match_size
from srkd.losses.base import integer, unprepared
from srkd.losses.numeric import mean_square, with_gradient
from srkd.losses.registry import register


def connector(student: Tensor, teacher: Tensor) -> nn.Module:
    """OFD's connector from the student's channels to the teacher's: a 1x1 convolution without bias, then BatchNorm."""
    channels, factory = teacher.shape[1], factory_kwargs(student)
    convolution = nn.Conv2d(student.shape[1], channels, 1, bias=False, **factory)
    nn.init.normal_(convolution.weight, 0, (2 / channels) ** 0.5)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels, **factory))


@register("ofd")
class OverhaulDistillation(Projected):
    """mean (s - t')^2, t' = max(t, m), counted as zero where s <= t' <= 0; m = E[t | t < 0] for each channel.

    Values below the margin m have no effect after the activation, so a student that is negative where the teacher is
    has no error. m is the mean of the negative values in the dry run and in the first `batches` training batches (0 for
    a channel that is never negative); the official code computes it from the teacher's BatchNorm, which some networks
    lack. Tap both networks before the activation.

    With `batch_norm`, s passes the official connector, a learned 1x1 convolution and BatchNorm; without, only the
    convolution, and only where channels differ. By default (None) it follows whether a recipe's student has BatchNorm
    (SR networks usually do not); in a custom training loop it is off.

    Shapes: maps (N, C, H, W) or vectors (N, C), any range; sizes are average-pooled to the smaller. Default weight: SR
    1.0 on features of unit scale; classification 1e-3 C H W, the official 1e-3 being for the sum over an image's
    elements, halved for each layer before the last. Cost: one 1x1 convolution and a few passes over the teacher's map;
    memory two maps.
    Source: Heo et al., "A Comprehensive Overhaul of Feature Distillation", ICCV 2019 (arXiv:1904.01866). Official code:
    clovaai/overhaul-distillation, CIFAR-100/distiller.py.
    """

    uses: ClassVar[tuple[str, ...]] = ("batch_norm",)
    zero_at_equal = True
    negative: Tensor | None

    def __init__(self, batch_norm: bool | None = None, batches: int = 16) -> None:
        super().__init__()
        self.batch_norm, self.batches = batch_norm, integer("batches", batches)
        if batch_norm:
            self.zero_at_equal = False
        # Per channel: the sum of the negative values, their number, and the number of batches observed.
        self.register_buffer("negative", None)

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        super().fit(student, teacher, **context)
        if context.get("batch_norm") if self.batch_norm is None else self.batch_norm:
            self.projection = connector(student, teacher)
        self.negative = torch.zeros(3, teacher.shape[1], **factory_kwargs(teacher))
        self._observe(match_size(as_maps(student), as_maps(teacher))[1])
        self.negative[2] = 0  # the dry run does not count as a training batch

    @torch.no_grad()
    def _observe(self, maps: Tensor) -> None:
        assert self.negative is not None
        below = maps.clamp_max(0)
        self.negative += torch.stack((below.sum((0, 2, 3)), (below < 0).sum((0, 2, 3)), below.new_ones(below.shape[1])))

    @property
    def margin(self) -> Tensor:
        """m (1, C, 1, 1), from the batches seen so far."""
        if self.negative is None:
            raise unprepared(self, "margin")
        return (self.negative[0] / self.negative[1].clamp_min(1))[None, :, None, None]

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.negative is None:
            raise unprepared(self, "margin")
        if self.training and self.negative[2, 0] < self.batches:
            self._observe(match_size(as_maps(student), as_maps(teacher))[1])
        student, teacher = self.aligned(student, teacher)
        with torch.no_grad():
            teacher = torch.maximum(teacher, self.margin)
            error = student - teacher
            error.masked_fill_((teacher <= 0) & (error <= 0), 0)
            value = mean_square(error)
        return with_gradient(value, {student: error.mul_(2 / error.numel())})
