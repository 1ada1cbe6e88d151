"""Knowledge review: each teacher layer is matched by the student's layer of the same depth and all deeper ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import as_maps, factory_kwargs, match_layout
from srkd.losses.base import Example, Loss, full_precision, integer, unprepared
from srkd.losses.numeric import mean_square
from srkd.losses.registry import register


class AttentionFusion(nn.Module):
    """Fuses a layer with the result of the deeper layers, by learned attention at each position."""

    def __init__(self, ours: int, hidden: int, theirs: int, *, fuse: bool, norm: bool, **factory: Any) -> None:
        super().__init__()

        def convolution(inward: int, outward: int, size: int) -> nn.Module:
            layer = nn.Conv2d(inward, outward, size, padding=size // 2, bias=not norm, **factory)
            nn.init.kaiming_uniform_(layer.weight, a=1)
            return nn.Sequential(layer, nn.BatchNorm2d(outward, **factory)) if norm else layer

        self.enter = convolution(ours, hidden, 1)
        self.attention = nn.Conv2d(2 * hidden, 2, 1, **factory) if fuse else None
        self.leave = convolution(hidden, theirs, 3)

    def forward(self, layer: Tensor, deeper: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The map to compare with the teacher's layer, of `size`, and the one passed on to the next shallower layer."""
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

    From the deepest layer up, a student map is projected to `channels` channels (1x1), fused with the result of the
    deeper layers (resized to it) by two attention maps (1x1, sigmoid), resized to the teacher's map (nearest neighbour)
    and projected to the teacher's channels (3x3). HCL is the MSE at full resolution, 4x4, 2x2 and 1x1 with weights 1,
    1/2, 1/4, 1/8, divided by their sum (1.875, less where a map is too small for a level).

    With `batch_norm` the two projections have no bias and are followed by BatchNorm, the official form. By default
    (None) it follows whether a recipe's student has BatchNorm (SR networks usually do not); in a custom training loop
    it is off.

    Shapes: lists of maps (N, C, H, W), shallow to deep, any range. Default weight: SR 1.0 on features of unit scale;
    classification 1.0 to 8.0. Cost: 9 M C_t + M C_s + 4 M multiply-adds per position and layer forward and backward, M
    = `channels` (default: those of the student's deepest layer, at most 512); runs under the caller's autocast; memory
    four maps of M channels per layer.
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
        self.channels = None if channels is None else integer("channels", channels)
        self.fusions: nn.ModuleList | None = None

    def fit(self, student: Sequence[Tensor], teacher: Sequence[Tensor], **context: Any) -> None:
        hidden = self.channels or min(512, student[-1].shape[1])
        norm = bool(context.get("batch_norm") if self.batch_norm is None else self.batch_norm)
        self.fusions = nn.ModuleList(
            AttentionFusion(
                s.shape[1], hidden, t.shape[1], fuse=depth < len(student) - 1, norm=norm, **factory_kwargs(s)
            )
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
            total = total + hierarchical_context(full_precision(fused), reference)
        return total

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = ([torch.randn(3, c, size, size, generator=rng) for size in (8, 8, 5)] for c in (4, 6))
        return Example(student, teacher)


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL: the mean of the MSEs at full size and pooled to 4, 2 and 1, weighted by 1, 1/2, 1/4 and 1/8.

    Pooling is linear, so the difference is pooled, and each size from the one before where that divides evenly.
    """
    difference = student - match_layout(student, teacher)
    sides, pooled = difference.shape[2:], difference
    even = all(side % 4 == 0 for side in sides)
    value, total, weight = mean_square(difference), 1.0, 1.0
    for size in (4, 2, 1):
        if size < min(sides):
            weight /= 2
            pooled = F.adaptive_avg_pool2d(pooled if even else difference, size)
            value, total = value + weight * mean_square(pooled), total + weight
    return value / total
