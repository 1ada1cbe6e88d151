"""Element-wise distances between outputs: to the teacher's, or to the ground truth."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss, choice, positive
from srkd.losses.numeric import mean_distance
from srkd.losses.registry import register


def charbonnier(difference: Tensor, eps: float) -> Tensor:
    """sqrt(d^2 + eps^2) - eps: L1 smoothed at zero, and zero there; finite for any finite float32 d."""
    return torch.hypot(difference, difference.new_full((), eps)) - eps


@register("output")
class Output(Loss):
    """Distance to the teacher's output: mean |s - t| (`norm: l1`), (s - t)^2 (`l2`) or Charbonnier.

    The regression form of Hinton et al., "Distilling the Knowledge in a Neural Network", 2015 (arXiv:1503.02531).

    Shapes: any, the same on both sides; in SR (N, 3, H, W) in [0, 1]. Default weight: SR 1.0 (alongside L1 to the
    ground truth), classification 1.0 on logits with l2. Cost: one pass over the output; memory the difference.
    """

    kind: ClassVar[str] = "output"
    zero_at_equal = True

    def __init__(self, norm: str = "l1", eps: float = 1e-3) -> None:
        super().__init__()
        self.norm = choice("norm", norm, ("l1", "l2", "charbonnier"))
        self.eps = positive("eps", eps)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if (known := context.get("known")) is not None:
            if known.shape != student.shape:
                shapes = f"{tuple(student.shape)}, got {tuple(known.shape)}"
                raise SrkdError(f"{self.name}: needs `known`, where the truth is known, of shape {shapes}")
            student, teacher = student[known], teacher[known]
            if not student.numel():
                return student.sum()  # 0, with a gradient of 0
        if self.norm == "l1":
            return mean_distance(student, teacher)
        if self.norm == "l2":
            return F.mse_loss(student, teacher)
        return charbonnier(student - teacher, self.eps).mean()

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        return Example(torch.rand(4, 3, 8, 8, generator=rng), torch.rand(4, 3, 8, 8, generator=rng))


@register("L1Loss")
class L1Loss(Output):
    """mean |s - g| to the ground truth g, the usual task loss of SR (Lim et al., EDSR, CVPRW 2017).

    Shapes: (N, 3, H, W) in [0, 1]; `known` of that shape, bool, limits the mean to elements whose truth is known.
    Default weight: 1.0. Cost: one pass over the output.
    """

    reference: ClassVar[str] = "target"
    uses: ClassVar[tuple[str, ...]] = ("known",)

    def __init__(self) -> None:
        super().__init__("l1")


@register("MSELoss")
class MSELoss(Output):
    """mean (s - g)^2 to the ground truth g (SRCNN; the content loss of SRResNet and of SRGAN-MSE, CVPR 2017).

    Shapes: (N, 3, H, W) in [0, 1]; `known` of that shape, bool, limits the mean to elements whose truth is known.
    Default weight: 1.0. Cost: one pass over the output.
    """

    reference: ClassVar[str] = "target"
    uses: ClassVar[tuple[str, ...]] = ("known",)

    def __init__(self) -> None:
        super().__init__("l2")


@register("CharbonnierLoss")
class CharbonnierLoss(Output):
    """mean sqrt((s - g)^2 + eps^2) - eps to the ground truth g (Lai et al., LapSRN, CVPR 2017).

    BasicSR's loss of this name is the root of (s - g)^2 + eps: its eps is the square of this one, and nothing is
    subtracted; the gradients are the same. `pixel_opt` takes BasicSR's eps, by default 1e-12. Shapes: (N, 3, H, W) in
    [0, 1]; `known` of that shape, bool, limits the mean to elements whose truth is known. Default weight: 1.0. Cost:
    one pass over the output.
    """

    reference: ClassVar[str] = "target"
    uses: ClassVar[tuple[str, ...]] = ("known",)

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__("charbonnier", eps)
