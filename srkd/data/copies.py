"""Downscaled copies of training images: large photographs are soft, and have more detail per pixel when downscaled.

A copy is a PNG in the user's cache folder, named by the SHA-256 of its original, created once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from srkd.files.cache import cache_place, trusted
from srkd.files.digest import file_sha256
from srkd.files.lock import locked
from srkd.images.read import ImageData, read_image, write_image
from srkd.images.resize import imresize

_SIGMA = 0.8  # pixels


def smaller(images: Sequence[Path], sizes: Sequence[float], sharpen: Sequence[float] = (0.0,)) -> list[Path]:
    """A copy of each image at each size (a factor between 0 and 1), by MATLAB's bicubic `imresize`.

    Args:
        sharpen: amounts of an unsharp mask, copy + amount (copy - blurred copy); there is a copy for each. MATLAB's
            `imresize` leaves a photograph softer than most pictures that people publish at that size.

    Raises:
        SrkdError: an image that cannot be read, or a cache folder that cannot be written.
    """
    if not sizes:
        return []
    folder = cache_place("copies")
    named = [(image, file_sha256(image)[:16]) for image in images]
    with locked(folder):
        return [
            _copy(image, size, amount, folder / f"{name}_{size:g}{f'_sharp{amount:g}' if amount else ''}.png")
            for amount in sharpen
            for size in sizes
            for image, name in named
        ]


def _copy(path: Path, size: float, amount: float, copy: Path) -> Path:
    if not trusted(copy):
        pixels = imresize(read_image(path).pixels, size)
        write_image(copy, ImageData(_sharpened(pixels, amount) if amount else pixels))
    return copy


def _sharpened(pixels: np.ndarray, amount: float) -> np.ndarray:
    """(H, W, C) of the same type."""
    exact = pixels.astype(np.float32)
    exact += amount * (exact - cv2.GaussianBlur(exact, (0, 0), _SIGMA).reshape(exact.shape))
    return np.clip(np.rint(exact), 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)
