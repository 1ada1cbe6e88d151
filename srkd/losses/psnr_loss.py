"""Minus the PSNR to the ground truth."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor

from srkd.losses.base import Example, Loss, shapes_of
from srkd.losses.output import Output
from srkd.losses.registry import register


@register("PSNRLoss")
class PSNRLoss(Loss):
    """Minus the PSNR in dB: the mean over images of 10 log10(mean (s - g)^2 + 1e-8), at least -80.

    With `toY` the squared difference is that of BT.601's Y, divided by 255.

    Shapes: (N, C, H, W) in [0, 1], C = 3 with `toY`. Default weight: SR 1.0 as the only task loss (its gradient grows
    as the error falls), classification none. Cost: one pass over the output.
    Source: HINet (Chen et al., CVPRW 2021) and NAFNet (Chen et al., ECCV 2022), named as in their BasicSR options.
    """

    kind: ClassVar[str] = "output"
    reference: ClassVar[str] = "target"

    def __init__(self, toY: bool = False) -> None:
        super().__init__()
        self.to_y = toY

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim != 4 or (self.to_y and student.shape[1] != 3):
            raise ValueError(f"needs images (N, {3 if self.to_y else 'C'}, H, W), got {shapes_of(student, teacher)}")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        difference = student - teacher
        if self.to_y:
            weights = difference.new_tensor([65.481, 128.553, 24.966]) / 255
            difference = (difference * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)
        return 10 / math.log(10) * (difference.square().mean((1, 2, 3)) + 1e-8).log().mean()

    @classmethod
    def example(cls, seed: int) -> Example:
        return Output.example(seed)
