"""Outputs compared by the high bands of their Haar wavelet transform."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from srkd.losses.base import Example, Loss, integer, shapes_of
from srkd.losses.output import Output
from srkd.losses.registry import register


@register("wavelet")
class Wavelet(Loss):
    """Summed over `levels` of the orthonormal Haar transform, mean |high bands of s - t| (LH, HL and HH together).

    With `low` the mean over the last level's low band (LL) is added. At each level an odd last row or column is
    dropped.

    Shapes: outputs (N, 3, H, W), usually in [0, 1], or maps of equal shape; sides of at least 2^levels, levels 1 to 4.
    Default weight: SR 0.1 alongside L1 to the ground truth; classification none. Cost: at most 4/3 of a pass over the
    output per level; no learned parts.
    Source: Zhang et al., "Wavelet Knowledge Distillation: Towards Efficient Image-to-Image Translation", CVPR 2022
    (arXiv:2203.06321).
    """

    kind: ClassVar[str] = "output"
    zero_at_equal = True

    def __init__(self, levels: int = 1, low: bool = False) -> None:
        super().__init__()
        self.levels, self.low = integer("levels", levels, 1, 4), low

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim != 4:
            raise ValueError(f"needs outputs (N, C, H, W), got {shapes_of(student, teacher)}")
        if min(student.shape[2:]) < 2**self.levels:
            rule = f"{self.levels} levels need sides of at least {2**self.levels}"
            raise ValueError(f"{rule}, got {shapes_of(student, teacher)}")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        # The transform is linear: the bands of the difference are the difference of the bands.
        low, value = student - teacher, student.new_zeros(())
        for _ in range(self.levels):
            low, high = haar(low)
            value = value + sum(band.abs().mean() for band in high) / 3
        return value + low.abs().mean() if self.low else value

    @classmethod
    def example(cls, seed: int) -> Example:
        return Output.example(seed)


def haar(image: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """One level of the orthonormal Haar transform of (..., H, W): LL, and (LH, HL, HH), each (..., H // 2, W // 2)."""
    height, width = (side // 2 * 2 for side in image.shape[-2:])
    top, bottom = image[..., 0:height:2, :width], image[..., 1:height:2, :width]
    total, step = top + bottom, top - bottom
    (a, b), (c, d) = ((rows[..., 0::2], rows[..., 1::2]) for rows in (total, step))
    return (a + b) / 2, ((c + d) / 2, (a - b) / 2, (c - d) / 2)
