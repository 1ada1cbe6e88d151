"""Downscaled copies of training images: large photographs are soft, and have more detail per pixel when downscaled.

A copy is a PNG in the user's cache folder, named by the SHA-256 of its original, created once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from srkd.files.cache import cache_place, trusted
from srkd.files.digest import file_sha256
from srkd.files.lock import locked
from srkd.images.read import ImageData, read_image, write_image
from srkd.images.resize import imresize


def smaller(images: Sequence[Path], sizes: Sequence[float]) -> list[Path]:
    """A copy of each image at each size (a factor between 0 and 1), by MATLAB's bicubic `imresize`.

    Raises:
        SrkdError: an image that cannot be read, or a cache folder that cannot be written.
    """
    if not sizes:
        return []
    folder = cache_place("copies")
    with locked(folder):
        return [_copy(image, size, folder) for size in sizes for image in images]


def _copy(path: Path, size: float, folder: Path) -> Path:
    copy = folder / f"{file_sha256(path)[:16]}_{size:g}.png"
    if not trusted(copy):
        write_image(copy, ImageData(imresize(read_image(path).pixels, size)))
    return copy
