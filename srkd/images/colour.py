"""The luma channel on which super-resolution is scored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# ITU-R BT.601, studio range, for RGB in [0, 255]; the constants that MATLAB's rgb2ycbcr uses.
_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255.0
_OFFSET = 16.0


def rgb_to_y(rgb: NDArray[np.generic]) -> NDArray[np.float64]:
    """Y of BT.601 from RGB (..., 3), uint8 or floats in [0, 255]: float64 (...) in [16, 235], not rounded."""
    if rgb.shape[-1] != 3:
        raise ValueError(f"RGB needs a last dimension of 3, got shape {rgb.shape}")
    if rgb.dtype == np.uint16:
        raise ValueError("Y is defined here for values in [0, 255]; divide 16-bit images by 257 first")
    result: NDArray[np.float64] = np.asarray(rgb, dtype=np.float64) @ _WEIGHTS + _OFFSET
    return result
