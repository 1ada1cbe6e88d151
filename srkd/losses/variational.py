"""Teacher features as a distribution that the student predicts: Gaussian for each channel, Laplace for each element."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import Projected, as_maps, check_pair, like, match_layout, match_size
from srkd.losses.base import Loss, exact, positive, unprepared
from srkd.losses.numeric import with_gradient
from srkd.losses.registry import register


@register("vid")
class VariationalInformation(Loss):
    """mean 0.5 ((mu(s) - t)^2 / v + log v): the teacher's features under a Gaussian that the student predicts.

    mu is three learned 1x1 convolutions with ReLU between; v, one for each channel, is learned too: softplus + 1e-5,
    starting from `variance`. The value may be negative.

    Shapes: maps (N, C, H, W) or vectors (N, C) of any channels, any range; maps of different size are average-pooled to
    the smaller. Default weight: SR 1.0, classification 1.0. Cost: C_s C_t + 2 C_t^2 multiply-adds a position forward
    and backward, in the autocast precision around it; memory three of the teacher's maps.
    Source: Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019 (arXiv:1904.05835).
    """

    keeps_autocast: ClassVar[bool] = True

    def __init__(self, variance: float = 5.0) -> None:
        super().__init__()
        if positive("variance", variance) <= 1e-5:
            raise ValueError(f"variance must be above its floor of 1e-5, got {variance}")
        self.start = variance
        self.mean: nn.Module | None = None
        self.raw_variance: nn.Parameter | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        check_pair(student, teacher)
        ours, theirs, where = student.shape[1], teacher.shape[1], like(student)
        self.mean = nn.Sequential(
            nn.Conv2d(ours, theirs, 1, **where), nn.ReLU(inplace=True),
            nn.Conv2d(theirs, theirs, 1, **where), nn.ReLU(inplace=True),
            nn.Conv2d(theirs, theirs, 1, **where),
        )  # fmt: skip
        start = self.start - 1e-5
        self.raw_variance = nn.Parameter(torch.full((theirs,), start + math.log(-math.expm1(-start)), **where))

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.mean is None or self.raw_variance is None:
            raise unprepared(self, "mean and variance")
        student, teacher = match_size(as_maps(student), as_maps(teacher))
        variance = F.softplus(self.raw_variance) + 1e-5
        mean = exact(self.mean(student))
        error = F.mse_loss(mean, match_layout(mean, teacher), reduction="none").mean((0, 2, 3))
        return 0.5 * (error / variance + variance.log()).mean()


@register("pisr")
class PrivilegedLaplace(Projected):
    """mean log 2b + |s - t| / b: the teacher under a Laplace distribution around the student, its width b learned.

    log b is predicted for each element from the student's map, by two 1x1 convolutions with PReLU between, starting
    from 0 and kept within -7 and 16; so what the student cannot know counts less. The value may be negative. (The
    paper's teacher, which sees the HR picture, is a recipe of its own.)

    Shapes: maps (N, C, H, W), outputs or vectors (N, C), any range; sizes are average-pooled to the smaller, different
    channels projected by a learned 1x1 convolution. Default weight: SR 0.1 on features of unit scale; classification
    0.1. Cost: C_s^2 + C_s C_t multiply-adds a position forward and backward; memory four of the teacher's maps.
    Source: Lee et al., "Learning with Privileged Information for Efficient Image Super-Resolution", ECCV 2020
    (arXiv:2007.07524).
    """

    def __init__(self) -> None:
        super().__init__()
        self.width: nn.Module | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        super().fit(student, teacher, **context)
        ours, theirs, where = student.shape[1], teacher.shape[1], like(student)
        last = nn.Conv2d(ours, theirs, 1, **where)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.width = nn.Sequential(nn.Conv2d(ours, ours, 1, **where), nn.PReLU(**where), last)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.width is None:
            raise unprepared(self, "width")
        log_b = self.width(match_size(as_maps(student), as_maps(teacher))[0]).clamp(-7, 16)
        student, teacher = self.aligned(student, teacher)
        with torch.no_grad():
            inverse = torch.neg(log_b).exp_()
            error = student - teacher
            slope = error.sign().mul_(inverse)
            scaled = error.abs_().mul_(inverse)
            value = scaled.mean() + log_b.mean() + math.log(2)
            share = 1 / error.numel()
            gradients = {student: slope.mul_(share), log_b: scaled.sub_(1).mul_(-share)}
        return with_gradient(value, gradients)
