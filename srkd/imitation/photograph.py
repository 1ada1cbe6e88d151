"""The photograph on model cards and in README: degraded, and what several models make of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from srkd.data.degradations import compressed
from srkd.images.resize import imresize
from srkd.report import crops

_DETAIL = 48  # side of the detail in pixels of the input


def sample() -> np.ndarray:
    """scikit-image's `chelsea` (Stefan van der Walt, CC0) as a messenger might deliver it: half its size, JPEG quality
    50; uint8 RGB (150, 225, 3)."""
    from skimage import data

    return compressed(imresize(data.chelsea()[:300, :450], 0.5), 50)


def sheet(photograph: np.ndarray, outputs: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> bytes:
    """The photograph, its centre, and that of each model's output with its note, as PNG.

    Args:
        photograph: uint8 RGB (H, W, 3).
        outputs: label to uint8 RGB (scale H, scale W, 3), all of one scale.
        notes: label to a short text.
    """
    scale = next(iter(outputs.values())).shape[0] // photograph.shape[0]
    shown = {"input": photograph.repeat(scale, 0).repeat(scale, 1), **outputs}
    height, width = shown["input"].shape[:2]
    side = min(_DETAIL * scale, height, width)
    return crops.sheet(shown, crops.Box((height - side) // 2, (width - side) // 2, side, side), notes)
