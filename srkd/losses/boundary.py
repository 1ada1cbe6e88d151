"""Features before the activation: which side of zero they lie on (AB), and what of them the next layer sees (OFD)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from srkd.losses.align import Projected, as_maps, match_size
from srkd.losses.base import positive, unprepared
from srkd.losses.numeric import mean_square, with_gradient
from srkd.losses.registry import register


@register("ab")
class ActivationBoundary(Projected):
    """mean relu(margin - s)^2 where t > 0 and relu(margin + s)^2 elsewhere: the teacher's activations, not its values.

    An initialisation: use it alone in a first stage, then train with other losses. Tap both networks before the
    activation; margin 1.

    Shapes: maps (N, C, H, W) or vectors (N, C), any range; sizes are average-pooled to the smaller, different channels
    projected by a learned 1x1 convolution. Default weight: SR 1.0, classification 1.0, in a stage of its own. Cost: one
    1x1 convolution and a few passes over the teacher's map; memory two maps.
    Source: Heo et al., "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons",
    AAAI 2019 (arXiv:1811.03233).
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = positive("margin", margin)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        student, teacher = self.aligned(student, teacher)
        with torch.no_grad():
            side = (teacher > 0).to(student.dtype).mul_(2).sub_(1)
            short = (side * student).neg_().add_(self.margin).clamp_min_(0)
            value = mean_square(short)
        return with_gradient(value, {student: side.mul_(short).mul_(-2 / short.numel())})


@register("ofd")
class OverhaulDistillation(Projected):
    """mean (s - t')^2, t' = max(t, m), counted as zero where s <= t' <= 0; m = E[t | t < 0] for each channel.

    What lies below the margin m matters to nobody, and a student that is negative where the teacher is has done its
    part. `prepare` estimates m from the dry run's batch (0 for a channel never negative) and keeps it as a buffer. Tap
    both networks before the activation.

    Shapes: maps (N, C, H, W) or vectors (N, C), any range; sizes are average-pooled to the smaller, different channels
    projected by a learned 1x1 convolution. Default weight: SR 1.0 on features of unit scale; classification 1.0. Cost:
    one 1x1 convolution and a few passes over the teacher's map; memory two maps.
    Source: Heo et al., "A Comprehensive Overhaul of Feature Distillation", ICCV 2019 (arXiv:1904.01866).
    """

    zero_at_equal = True
    margin: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("margin", None)

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        super().fit(student, teacher, **context)
        maps = match_size(as_maps(student), as_maps(teacher))[1]
        negative = maps.clamp_max(0).sum((0, 2, 3), keepdim=True)
        self.margin = negative / (maps < 0).sum((0, 2, 3), keepdim=True).clamp_min(1)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.margin is None:
            raise unprepared(self, "margin")
        student, teacher = self.aligned(student, teacher)
        with torch.no_grad():
            teacher = torch.maximum(teacher, self.margin)
            error = student - teacher
            error.masked_fill_((teacher <= 0) & (error <= 0), 0)
            value = mean_square(error)
        return with_gradient(value, {student: error.mul_(2 / error.numel())})
