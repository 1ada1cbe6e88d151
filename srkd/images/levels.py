"""The one conversion between integer levels of images and network values in [0, 1], for NumPy arrays and tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LEVELS = {"uint8": 255, "uint16": 65535, "float32": 1}


def levels_of(dtype: Any) -> int:
    """The level of white in a dtype of NumPy or torch: 1 for float32."""
    return LEVELS[str(dtype).removeprefix("torch.")]


@overload
def from_levels(pixels: NDArray[Any]) -> NDArray[np.float32]: ...


@overload
def from_levels(pixels: Tensor) -> Tensor: ...


def from_levels(pixels: NDArray[Any] | Tensor) -> NDArray[np.float32] | Tensor:
    """uint8 or uint16 of any shape to float32 in [0, 1]; float32 is returned unchanged. Strides are kept."""
    levels = levels_of(pixels.dtype)
    if levels == 1:
        return pixels
    floats: Any = pixels.astype(np.float32) if isinstance(pixels, np.ndarray) else pixels.float()
    return floats / levels  # type: ignore[no-any-return]


@overload
def to_levels(values: NDArray[np.float32], dtype: np.dtype[Any] | type = ...) -> NDArray[Any]: ...


@overload
def to_levels(values: Tensor, dtype: torch.dtype | None = ...) -> Tensor: ...


def to_levels(values: NDArray[np.float32] | Tensor, dtype: Any = None) -> NDArray[Any] | Tensor:
    """Values of any shape, clamped to [0, 1], to the levels of a dtype (default: uint8), rounded half to even; float32
    is only clamped."""
    if not isinstance(values, np.ndarray):
        return _tensor_to_levels(values, dtype)
    dtype = np.dtype(np.uint8 if dtype is None else dtype)
    levels = levels_of(dtype)
    clamped: NDArray[np.float32] = np.clip(values, 0, 1, dtype=np.float32)
    if levels == 1:
        return clamped
    clamped *= levels
    np.rint(clamped, out=clamped)
    return clamped.astype(dtype)


def _tensor_to_levels(values: Tensor, dtype: torch.dtype | None) -> Tensor:
    import torch

    dtype = torch.uint8 if dtype is None else dtype
    levels, values = levels_of(dtype), values.float().clamp(0, 1)
    return values if levels == 1 else (values * levels).round().to(dtype)
