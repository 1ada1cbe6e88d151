"""Masked generative distillation: the teacher's map reconstructed from a masked student's map."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from srkd.losses.align import Projected, factory_kwargs
from srkd.losses.base import choice, full_precision, positive, unprepared
from srkd.losses.numeric import mean_square
from srkd.losses.registry import register


@register("mgd")
class MaskedGenerative(Projected):
    """mean (G(mask * s) - t)^2, G two learned 3x3 convolutions with ReLU between.

    The mask is sampled at each call from torch's global random state: with `mask: position` each position of a sample
    is zero in all channels with probability `ratio`, 0.5 by default; with `mask: channel`, the paper's form for
    classification, each channel is zero at all positions, by default with 0.15.

    Shapes: maps (N, C, H, W), any range; sizes are average-pooled to the smaller, different channels projected by a
    learned 1x1 convolution. Default weight: SR 1.0 on features of unit scale; classification with `mask: channel`
    7e-5 C H W, the paper's 7e-5 being for the sum over an image's elements: 1.8 for 512 x 7 x 7. Cost: 18 C_t^2
    multiply-adds per position forward and backward: for 64 channels more than a 50 K-parameter student's own step; runs
    under the caller's autocast; memory four teacher's maps.
    Source: Yang et al., "Masked Generative Distillation", ECCV 2022 (arXiv:2205.01529). Official code: yzd-v/MGD,
    cls/mmcls/distillation/losses/mgd.py (channel), det/mmdet/distillation/losses/mgd.py (position).
    """

    keeps_autocast: ClassVar[bool] = True
    stochastic = True
    permutation_invariant = False

    def __init__(self, ratio: float | None = None, mask: str = "position") -> None:
        super().__init__()
        self.mask = choice("mask", mask, ("position", "channel"))
        self.ratio = {"position": 0.5, "channel": 0.15}[mask] if ratio is None else positive("ratio", ratio, zero=True)
        if self.ratio >= 1:
            raise ValueError(f"ratio, the share of masked {mask}s, must be below 1, got {ratio}")
        self.generation: nn.Module | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        super().fit(student, teacher, **context)
        channels, factory = teacher.shape[1], factory_kwargs(student)
        self.generation = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, **factory),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, **factory),
        )

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.generation is None:
            raise unprepared(self, "generation block")
        student, teacher = self.aligned(student, teacher)
        count, channels, *sides = student.shape
        shape = (count, channels, 1, 1) if self.mask == "channel" else (count, 1, *sides)
        mask = (torch.rand(shape) >= self.ratio).to(student)
        return mean_square(full_precision(self.generation(student * mask)) - teacher)
