"""Input sizes that a network accepts, and the one rule by which other sizes are padded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

A = TypeVar("A", "NDArray[Any]", "Tensor")


@dataclass(frozen=True)
class Sides:
    """Constraints on input sides: multiples of `multiple`, at least `minimum`, and equal if `square`."""

    multiple: int = 1
    minimum: int = 1
    square: bool = False

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The smallest allowed sides that are at least `height` and `width`."""
        rows, columns = (padded_side(side, self.multiple, self.minimum) for side in (height, width))
        return (max(rows, columns),) * 2 if self.square else (rows, columns)

    def pad(self, x: A) -> A:
        """(N, C, H, W) with the bottom and right side extended by `mirrored` to fitting sides, in the same layout."""
        height, width = x.shape[-2:]
        tall, wide = self.fitting(height, width)
        if (tall, wide) == (height, width):
            return x
        rows, columns = mirrored(height, tall), mirrored(width, wide)
        if isinstance(x, np.ndarray):
            return x[..., rows, :][..., columns]
        import torch

        down, across = (torch.from_numpy(index).to(x.device) for index in (rows, columns))
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return x.index_select(-2, down).index_select(-1, across).contiguous(memory_format=layout)

    def pad_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `pad`, for (N, H, W, C)."""
        height, width = pixels.shape[1:3]
        tall, wide = self.fitting(height, width)
        if (tall, wide) == (height, width):
            return pixels
        return pixels[:, mirrored(height, tall)][:, :, mirrored(width, wide)]


def padded_side(side: int, multiple: int, minimum: int = 1) -> int:
    """The smallest multiple of `multiple` that is at least `side` and `minimum`."""
    return -(-max(side, minimum) // multiple) * multiple


def mirrored(length: int, to: int) -> NDArray[np.int64]:
    """The indices that extend a side of `length` pixels to `to`: its reflection, and beyond that its first pixel."""
    index = np.arange(to)
    return np.where(index < length, index, np.maximum(2 * (length - 1) - index, 0))
