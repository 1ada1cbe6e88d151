"""The one conversion between integer levels of images and network values in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = {torch.uint8: 255, torch.uint16: 65535, torch.float32: 1}


def from_levels(pixels: Tensor) -> Tensor:
    """uint8 or uint16 of any shape to float32 in [0, 1]; float32 is returned unchanged. Strides are kept."""
    levels = LEVELS[pixels.dtype]
    return pixels if levels == 1 else pixels.float() / levels


def to_levels(values: Tensor, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Values of any shape, clamped to [0, 1], to the levels of a dtype, rounded half to even; float32 is only
    clamped."""
    levels, values = LEVELS[dtype], values.float().clamp(0, 1)
    return values if levels == 1 else (values * levels).round().to(dtype)
