"""Outputs compared by their Fourier transform."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from srkd.losses.base import Example, Loss, shapes_of
from srkd.losses.output import Output
from srkd.losses.registry import register


@register("FFTLoss")
class FFTLoss(Loss):
    """Mean of |Re F(s - g)| and |Im F(s - g)| over the half spectrum of the two-dimensional Fourier transform F.

    F is not normalised (torch's rfft2): the value grows with about the square root of the number of pixels.

    Shapes: outputs (N, C, H, W), usually in [0, 1], or maps of equal shape. Default weight: SR 0.05 alongside L1 to the
    ground truth (ShuffleMixer's 0.1, SAFMN's 0.05), classification none. Cost: one FFT of the output and its gradient.
    Source: Cho et al., "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", ICCV 2021 (arXiv:2108.05054);
    ShuffleMixer (Sun et al., NeurIPS 2022) and SAFMN (Sun et al., ICCV 2023), named as in their BasicSR options.
    """

    kind: ClassVar[str] = "output"
    reference: ClassVar[str] = "target"
    zero_at_equal = True

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim != 4:
            raise ValueError(f"needs outputs (N, C, H, W), got {shapes_of(student, teacher)}")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        return torch.view_as_real(torch.fft.rfft2(student - teacher)).abs().mean()

    @classmethod
    def example(cls, seed: int) -> Example:
        return Output.example(seed)
