"""The student predicts a Gaussian distribution of the teacher's features (VID)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import as_maps, factory_kwargs, match_layout, match_size
from srkd.losses.base import Loss, full_precision, positive, unprepared
from srkd.losses.registry import register


@register("vid")
class VariationalInformation(Loss):
    """mean 0.5 ((mu(s) - t)^2 / v + log v): the teacher's features under a Gaussian that the student predicts.

    mu is three learned 1x1 convolutions without bias, ReLU between them; v, one per channel, is learned too:
    softplus + 1e-5, starting from `variance`. The value may be negative.

    Shapes: maps (N, C, H, W) or vectors (N, C) of any channels, any range; maps of different size are average-pooled to
    the smaller. Default weight: SR 1.0, classification 1.0. Cost: C_s C_t + 2 C_t^2 multiply-adds per position
    forward and backward, under the caller's autocast; memory three of the teacher's maps.
    Source: Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019 (arXiv:1904.05835).
    RepDistiller: distiller_zoo/VID.py, after the authors' code.
    """

    shapes: ClassVar[str] = "maps"
    keeps_autocast: ClassVar[bool] = True

    def __init__(self, variance: float = 5.0) -> None:
        super().__init__()
        if positive("variance", variance) <= 1e-5:
            raise ValueError(f"variance must be above its floor of 1e-5, got {variance}")
        self.start = variance
        self.mean: nn.Module | None = None
        self.raw_variance: nn.Parameter | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        ours, theirs, factory = student.shape[1], teacher.shape[1], factory_kwargs(student)
        self.mean = nn.Sequential(
            nn.Conv2d(ours, theirs, 1, bias=False, **factory),
            nn.ReLU(inplace=True),
            nn.Conv2d(theirs, theirs, 1, bias=False, **factory),
            nn.ReLU(inplace=True),
            nn.Conv2d(theirs, theirs, 1, bias=False, **factory),
        )
        start = self.start - 1e-5
        self.raw_variance = nn.Parameter(torch.full((theirs,), start + math.log(-math.expm1(-start)), **factory))

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.mean is None or self.raw_variance is None:
            raise unprepared(self, "mean and variance")
        student, teacher = match_size(as_maps(student), as_maps(teacher))
        variance = F.softplus(self.raw_variance) + 1e-5
        mean = full_precision(self.mean(student))
        difference = mean - match_layout(mean, teacher)
        per_channel = mean.numel() // mean.shape[1]
        error: Tensor = difference.square().sum((0, 2, 3)) / per_channel  # the gradient of `mean` is contiguous
        return 0.5 * (error / variance + variance.log()).mean()
