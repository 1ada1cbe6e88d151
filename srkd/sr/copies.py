"""Smaller copies of training pictures: large photographs are soft, and have more detail a pixel when shrunk.

A copy is an ordinary PNG in the user's cache folder, named after its original's content, made once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from srkd.io.cache import cache_place, trusted
from srkd.io.digest import file_sha256
from srkd.io.images import Picture, read_picture, write_picture
from srkd.io.lock import locked
from srkd.io.resize import imresize


def smaller(pictures: Sequence[Path], sizes: Sequence[float]) -> list[Path]:
    """A copy of each picture at each size, a factor of its sides between 0 and 1, by MATLAB's bicubic `imresize`.

    Raises:
        SrkdError: a picture that cannot be read, or a cache folder that cannot be written.
    """
    if not sizes:
        return []
    folder = cache_place("copies")
    with locked(folder):
        return [_copy(picture, size, folder) for size in sizes for picture in pictures]


def _copy(path: Path, size: float, folder: Path) -> Path:
    copy = folder / f"{file_sha256(path)[:16]}_{size:g}.png"
    if not trusted(copy):
        write_picture(copy, Picture(imresize(read_picture(path).pixels, size)))
    return copy
