"""Images for the page: as they are if browsers show their format, else as 8-bit PNG."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from srkd.images import tiffreader
from srkd.images.metadata import Metadata
from srkd.images.read import decoding, read_image, srkd_errors, write_image
from srkd.images.write import open_writer, to_depth

_SHOWN = ("png", "jpeg", "webp", "avif", "bmp", "gif")
_TYPES = {name: f"image/x-portable-{name}" for name in ("pbm", "pgm", "ppm", "pam")} | {"tga": "image/x-tga"}
_one_at_a_time = threading.Lock()


def media_type(format: str) -> str:
    """The media type of an image format."""
    return _TYPES.get(format, f"image/{format}")


def preview(path: Path, format: str, converted: Path, own: bool = False) -> tuple[Path, str]:
    """The file to show for an image, and its media type; one that has to be converted is kept as `converted`.

    Args:
        own: whether srkd has written the file. A TIFF is then converted row by row, as it was written, because a result
            may be larger than the images that are read.

    Raises:
        SrkdError: the image cannot be read.
    """
    if format in _SHOWN:
        return path, media_type(format)
    with _one_at_a_time:  # a decoded image is in memory
        if not converted.is_file() and own and format == "tiff":
            _convert_by_rows(path, converted)
        elif not converted.is_file():
            image = read_image(path)
            write_image(converted, replace(image, pixels=to_depth(image.pixels, deep=False)), "png")
    return converted, "image/png"


def _convert_by_rows(path: Path, converted: Path) -> None:
    with srkd_errors(path), decoding(), tiffreader.open_strips(path) as found:
        metadata = Metadata(icc=found.icc)
        with open_writer(converted, found.shape, np.uint8, "png", metadata=metadata) as writer:
            for rows in found.rows:
                writer.write(to_depth(rows, deep=False))
