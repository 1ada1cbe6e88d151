"""LDL: a pixel loss where the output looks like an artifact rather than like detail."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, choice, integer, shapes_of
from srkd.losses.registry import register


@register("ldl")
class LDL(Loss):
    """Mean |M s - M g| (`criterion: l1`) or its square (`l2`), M being the map of artifacts.

    With the residual r = sum over colours of |g - s|, M at a pixel is the variance of r in a window of `window` x
    `window` around it, times the fifth root of the variance of r over the image; it is 0 where r is smaller than the
    residual of `ema_output`, the output of the averaged weights, which is more stable. M has a gradient too. Where the
    other losses compare with a sharpened g, this one takes `original`, which is not sharpened.

    Shapes: images (N, C, H, W) in [0, 1] with sides above window / 2; needs `ema_output`, of the same shape. Default
    weight: SR 1.0 beside an adversarial loss, classification none. Cost: the generator's forward pass with the averaged
    weights.
    Source: Liang et al., "Details or Artifacts: A Locally Discriminative Learning Approach to Realistic Image
    Super-Resolution", CVPR 2022; BasicSR's `ldl_opt`.
    """

    kind: ClassVar[str] = "output"
    reference: ClassVar[str] = "target"
    needs = ("ema_output",)
    uses = ("original",)
    zero_at_equal = True

    def __init__(self, criterion: str = "l1", window: int = 7) -> None:
        super().__init__()
        self.distance = F.l1_loss if choice("criterion", criterion, ("l1", "l2")) == "l1" else F.mse_loss
        self.window = integer("window", window, 3)
        if window % 2 == 0:
            raise ValueError(f"window must be odd, got {window}")

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim != 4 or min(student.shape[2:]) <= self.window // 2:
            raise ValueError(
                f"needs images with sides of more than {self.window // 2} pixels, got {shapes_of(student, teacher)}"
            )

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        truth = context.get("original", teacher)
        weight = self.artifacts(student, truth, context["ema_output"].detach())
        return self.distance(weight * student, weight * truth)

    def artifacts(self, student: Tensor, truth: Tensor, averaged: Tensor) -> Tensor:
        """The map M, (N, 1, H, W)."""
        residual = (truth - student).abs().sum(1, keepdim=True)
        steady = (truth - averaged.float()).abs().sum(1, keepdim=True)
        # The root has no finite gradient at 0, which a perfect output reaches.
        overall = residual.var((1, 2, 3), keepdim=True).clamp_min(1e-12) ** 0.2
        return torch.where(residual < steady, 0.0, overall * self._local_variance(residual))

    def _local_variance(self, maps: Tensor) -> Tensor:
        border, count = self.window // 2, self.window**2
        padded = F.pad(maps, (border,) * 4, mode="reflect")
        # Of differences to the mean, since that of squares cancels in float32.
        centred = padded - maps.mean((2, 3), keepdim=True)
        mean = F.avg_pool2d(centred, self.window, 1)
        return ((F.avg_pool2d(centred.square(), self.window, 1) - mean.square()) * count / (count - 1)).clamp_min(0)

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher, averaged = (torch.rand(3, 3, 9, 8, generator=rng) for _ in range(3))
        return Example(student, teacher, None, {"ema_output": averaged})
