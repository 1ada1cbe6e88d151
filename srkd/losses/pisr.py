"""The student predicts a Laplace distribution of the teacher's features (PISR)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import as_maps, factory_kwargs, match_layout, match_size
from srkd.losses.base import Loss, unprepared
from srkd.losses.numeric import with_gradient
from srkd.losses.registry import register


@register("pisr")
class PrivilegedLaplace(Loss):
    """mean log 2b + |mu(s) - t| / b: the teacher under a Laplace distribution that the student predicts.

    mu and b are predicted per element from the student's map by two heads of 1x1 convolution, PReLU, 1x1 convolution; b
    is 0.1 softplus of its head. Elements that the student cannot predict get less weight. The value may be negative.
    (The official code adds a constant, C log(2 pi) / 2, which has no gradient.)

    In the paper the teacher sees the HR image through an encoder that compresses it to the LR image's size, and the
    student starts from that teacher's weights: see the network PrivilegedEDSR and the recipes in examples/pisr.

    Shapes: maps (N, C, H, W), outputs or vectors (N, C) of any channels, any range; maps of different size are
    average-pooled to the smaller. Default weight: SR 1e-6 alongside L1 to the ground truth in [0, 1]; classification
    0.1.
    Cost: 2 C_s^2 + 2 C_s C_t multiply-adds per position forward and backward; memory six of the teacher's maps.
    Source: Lee et al., "Learning with Privileged Information for Efficient Image Super-Resolution", ECCV 2020
    (arXiv:2007.07524). Official code: cvlab-yonsei/PISR, models/vid_module.py, losses/loss_factory.py.
    """

    shapes: ClassVar[str] = "maps"

    def __init__(self) -> None:
        super().__init__()
        self.mean: nn.Module | None = None
        self.width: nn.Module | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        ours, theirs, factory = student.shape[1], teacher.shape[1], factory_kwargs(student)
        self.mean, self.width = (
            nn.Sequential(
                nn.Conv2d(ours, ours, 1, **factory), nn.PReLU(**factory), nn.Conv2d(ours, theirs, 1, **factory)
            )
            for _ in range(2)
        )

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.mean is None or self.width is None:
            raise unprepared(self, "mean and width")
        student, teacher = match_size(as_maps(student), as_maps(teacher))
        mean, width = self.mean(student), 0.1 * F.softplus(self.width(student)) + 1e-8
        with torch.no_grad():
            error = mean - match_layout(mean, teacher)
            share = 1 / (width * error.numel())
            slope = error.sign() * share
            scaled = error.abs_() / width
            value = scaled.mean() + width.log().mean() + math.log(2)
            gradients = {mean: slope, width: (1 - scaled).mul_(share)}
        return with_gradient(value, gradients)
