"""Knowledge review: each teacher layer explained by the student's layer of the same depth and all deeper ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import as_maps, like
from srkd.losses.base import Example, Loss, exact, unprepared, whole
from srkd.losses.registry import register


class AttentionFusion(nn.Module):
    """A layer and what came from deeper ones, mixed at each position by learned attention."""

    def __init__(self, ours: int, middle: int, theirs: int, *, fuse: bool, norm: bool, **where: Any) -> None:
        super().__init__()

        def convolution(inward: int, outward: int, size: int) -> nn.Module:
            layer = nn.Conv2d(inward, outward, size, padding=size // 2, bias=not norm, **where)
            nn.init.kaiming_uniform_(layer.weight, a=1)
            return nn.Sequential(layer, nn.BatchNorm2d(outward, **where)) if norm else layer

        self.enter = convolution(ours, middle, 1)
        self.attention = nn.Conv2d(2 * middle, 2, 1, **where) if fuse else None
        self.leave = convolution(middle, theirs, 3)

    def forward(self, layer: Tensor, deeper: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What the teacher's layer, of `size`, is compared with, and what goes on to the next shallower layer."""
        mixed = self.enter(layer)
        if self.attention is not None and deeper is not None:
            deeper = _resized(deeper, mixed.shape[2:])
            share = self.attention(torch.cat((mixed, deeper), 1)).sigmoid()
            mixed = mixed * share[:, :1] + deeper * share[:, 1:]
        mixed = _resized(mixed, size)
        return self.leave(mixed), mixed


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    return maps if maps.shape[2:] == size else F.interpolate(maps, tuple(size), mode="nearest")


@register("review")
class Review(Loss):
    """Summed over layers, HCL between attention-fused student maps and the teacher's.

    From the deepest layer up, a student map enters `channels` channels by 1x1, is mixed with what came from deeper
    layers (resized to it) by two attention maps (1x1, sigmoid), is resized to the teacher's map, nearest neighbour, and
    leaves to the teacher's channels by 3x3. HCL is the MSE at full resolution, 4x4, 2x2 and 1x1 with weights 1, 1/2,
    1/4, 1/8, divided by their sum (1.875, less where a map is too small for a level).

    With `batch_norm` each convolution in and out has no bias and BatchNorm after it, the official form. By default
    (None) a recipe's student decides by having BatchNorm or not, as SR networks do not; in a loop of one's own it is
    off.

    Shapes: lists of maps (N, C, H, W), shallow to deep, any range. Default weight: SR 1.0 on features of unit scale;
    classification 1.0 to 8.0. Cost: 9 M C_t + M C_s + 4 M multiply-adds a position and layer forward and backward, M =
    `channels` (default: those of the student's deepest layer, at most 512); runs in the autocast precision around it;
    memory four maps of M channels a layer.
    Source: Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021 (arXiv:2104.09044). Official code:
    dvlab-research/ReviewKD, CIFAR-100/model/reviewkd.py.
    """

    layers: ClassVar[str] = "list"
    shapes: ClassVar[str] = "maps"
    uses: ClassVar[tuple[str, ...]] = ("batch_norm",)
    keeps_autocast: ClassVar[bool] = True

    def __init__(self, channels: int | None = None, batch_norm: bool | None = None) -> None:
        super().__init__()
        self.batch_norm = batch_norm
        self.channels = None if channels is None else whole("channels", channels)
        self.fusions: nn.ModuleList | None = None

    def fit(self, student: Sequence[Tensor], teacher: Sequence[Tensor], **context: Any) -> None:
        middle = self.channels or min(512, student[-1].shape[1])
        norm = bool(context.get("batch_norm") if self.batch_norm is None else self.batch_norm)
        self.fusions = nn.ModuleList(
            AttentionFusion(s.shape[1], middle, t.shape[1], fuse=depth < len(student) - 1, norm=norm, **like(s))
            for depth, (s, t) in enumerate(zip(student, teacher, strict=True))
        )

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], target: Tensor | None = None, **context: Any
    ) -> Tensor:
        if self.fusions is None:
            raise unprepared(self, "fusions")
        total, deeper = student[0].new_zeros(()), None
        for layer, reference, fusion in reversed(list(zip(student, teacher, self.fusions, strict=True))):
            layer, reference = as_maps(layer), as_maps(reference)
            fused, deeper = fusion(layer, deeper, reference.shape[2:])
            total = total + hierarchical_context(exact(fused), reference)
        return total

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = ([torch.randn(3, c, size, size, generator=rng) for size in (8, 8, 5)] for c in (4, 6))
        return Example(student, teacher)


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL: the MSE in full and pooled to 4, 2 and 1, the weight halved each time, divided by the weights' sum."""
    value, total, weight = F.mse_loss(student, teacher), 1.0, 1.0
    for size in (4, 2, 1):
        if size < min(student.shape[2:]):
            weight /= 2
            ours, theirs = (F.adaptive_avg_pool2d(m, size) for m in (student, teacher))
            value, total = value + weight * F.mse_loss(ours, theirs), total + weight
    return value / total
