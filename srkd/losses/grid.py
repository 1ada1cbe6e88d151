"""Patterns in an output that repeat with the period of its upsampling, as a grid does."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, integer, shapes_of
from srkd.losses.output import Output
from srkd.losses.registry import register


@register("grid")
class Grid(Loss):
    """Mean |p(s - t)|, p(x) the part of x that repeats every `period` pixels within `cells` x `cells` periods.

    p subtracts from each pixel the mean over one period around it (ends at half weight, so that ramps leave nothing),
    and averages what remains over the pixels of equal phase. Texture averages out; a grid does not.

    A perceptual distance rewards texture, and the texture easiest to learn is the same in every cell of the upsampling:
    a grid, in flat areas above all. This term makes it cost more than it gains. Set `period` to the scale.

    Shapes: images (N, C, H, W), usually in [0, 1], sides of at least (cells + 2) * period. Default weight: SR 80
    beside `efficientnet_distance` with 0.1, classification none. Cost: two passes over the output, no learned parts.
    Source: srkd; the phases of a sub-pixel layer are those of Shi et al., ESPCN, CVPR 2016.
    """

    kind: ClassVar[str] = "output"
    zero_at_equal = True

    def __init__(self, period: int = 4, cells: int = 4) -> None:
        super().__init__()
        self.period, self.cells = integer("period", period, 2, 16), integer("cells", cells, 1, 64)

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        smallest = (self.cells + 2) * self.period
        if student.ndim != 4 or min(student.shape[2:]) < smallest:
            raise ValueError(f"needs images of at least {smallest}x{smallest}, got {shapes_of(student, teacher)}")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        phases = F.pixel_unshuffle(self._detail(student - teacher), self.period)
        return F.avg_pool2d(phases, self.cells, max(1, self.cells // 2)).abs().mean()

    def _detail(self, x: Tensor) -> Tensor:
        """`x` minus its means over one period, without the border, cropped to whole periods."""
        channels, period = x.shape[1], self.period
        taps = x.new_ones(period // 2 * 2 + 1)
        if period % 2 == 0:
            taps[0] = taps[-1] = 0.5
        line = (taps / taps.sum()).expand(channels, 1, 1, -1)
        means = F.conv2d(F.conv2d(x, line, groups=channels), line.transpose(2, 3), groups=channels)
        edge = period // 2
        height, width = ((side - 2 * edge) // period * period for side in x.shape[2:])
        inside = x[..., edge : edge + height, edge : edge + width]
        detail: Tensor = inside - means[..., :height, :width]
        return detail

    @classmethod
    def example(cls, seed: int) -> Example:
        example = Output.example(seed)
        return Example(example.student, example.teacher, None, {}, {"period": 2, "cells": 2})
