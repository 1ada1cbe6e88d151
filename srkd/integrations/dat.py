"""DAT's window attention with less memory traffic.

spandrel's DAT computes scores, position bias, mask, softmax and product as passes over tensors of (windows, heads, N,
N), N being 256 and more, which no cache holds, and a mask anew in each block: three quarters of the network's time.
Here a fused operation holds a block of them, and only the windows that hold both ends of a shifted image have a mask.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LANES = 16  # products over the 10 features of a head of DAT-light take longer than over 16
Pair = tuple[int, int]


def fuse_attention(network: nn.Module) -> None:
    """Replace the attention within windows in each block of a DAT of spandrel's, in place."""
    module: Any
    for module in network.modules():
        own, spandrels = type(module).__name__, type(module).__module__.startswith("spandrel.")
        if spandrels and own == "Spatial_Attention" and module.position_bias and not module.attn_drop.p:
            module.__class__ = _WindowAttention
        elif spandrels and own == "Adaptive_Spatial_Attention":
            module.calculate_mask = partial(_masks, tuple(module.split_size), tuple(module.shift_size))


class _WindowAttention(nn.Module):
    """A `Spatial_Attention` with another forward pass, equal to rounding."""

    def forward(self: Any, qkv: Tensor, height: int, width: int, mask: Tensor | None = None) -> Tensor:
        """Attention within windows: qkv (3, B, height * width, C) to (B, height, width, C).

        Args:
            mask: (windows, N, N), added to the scores of each image's windows; 0 but for the last row and column.
        """
        rows, columns, heads, channels = height // self.H_sp, width // self.W_sp, self.num_heads, qkv.shape[-1]
        features, size = channels // heads, self.H_sp * self.W_sp
        windows = qkv.reshape(3, -1, rows, self.H_sp, columns, self.W_sp, heads, features)
        windows = F.pad(windows.permute(0, 1, 2, 4, 6, 3, 5, 7), (0, -features % _LANES))
        windows = windows.reshape(3, -1, rows * columns, heads, size, windows.shape[-1])
        position = self._position(size)
        if mask is None:
            found = self._attention(windows, position)
        else:
            found = torch.empty_like(windows[0])
            inside, border = _parts(rows, columns)
            found[:, inside] = self._attention(windows[:, :, inside], position)
            found[:, border] = self._attention(windows[:, :, border], position + mask[border, None])
        found = found[..., :features].reshape(-1, rows, columns, heads, self.H_sp, self.W_sp, features)
        output: Tensor = found.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, height, width, channels)
        return output

    def _attention(self: Any, windows: Tensor, bias: Tensor) -> Tensor:
        """(3, B, windows, heads, N, features) to (B, windows, heads, N, features); bias (1 or windows, heads, N, N)."""
        images = [F.scaled_dot_product_attention(q, k, v, bias, scale=self.scale) for q, k, v in windows.unbind(1)]
        return torch.stack(images)

    def _position(self: Any, size: int) -> Tensor:
        """The position bias (1, heads, N, N)."""
        table: Tensor = self.pos(self.rpe_biases)[self.relative_position_index.view(-1)]
        return table.view(size, size, -1).permute(2, 0, 1).contiguous()[None]


def _parts(rows: int, columns: int) -> tuple[list[int], list[int]]:
    """Numbers of the windows inside, and of those in the last row or column."""
    at_border = [row == rows - 1 or column == columns - 1 for row in range(rows) for column in range(columns)]
    return [n for n, last in enumerate(at_border) if not last], [n for n, last in enumerate(at_border) if last]


@lru_cache(maxsize=1)  # the blocks of a network ask for the same
def _masks(split: Pair, shift: Pair, height: int, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Masks (windows, N, N) of the windows of size `split` and of those turned by 90 degrees, shifted alike: -100
    between pixels that are neighbours only because the shifted image wraps around, else 0."""
    return (
        _mask(split, shift, (height, width)).to(dtype),
        _mask(split[::-1], shift[::-1], (height, width)).to(dtype),
    )


def _mask(split: Pair, shift: Pair, sides: Pair) -> Tensor:
    down, across = (
        (torch.arange(side) >= side - length).int() + (torch.arange(side) >= side - moved)
        for side, length, moved in zip(sides, split, shift, strict=True)
    )
    regions = 3 * down[:, None] + across
    windows = regions.view(sides[0] // split[0], split[0], sides[1] // split[1], split[1])
    windows = windows.transpose(1, 2).reshape(-1, split[0] * split[1])
    return -100.0 * (windows[:, None] != windows[:, :, None])
