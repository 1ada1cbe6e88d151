"""Images for the page: as they are if browsers show their format, else as 8-bit PNG."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

from srkd.images.read import read_image, write_image
from srkd.images.write import to_depth

_SHOWN = ("png", "jpeg", "webp", "avif", "bmp", "gif")
_TYPES = {name: f"image/x-portable-{name}" for name in ("pbm", "pgm", "ppm", "pam")} | {"tga": "image/x-tga"}
_one_at_a_time = threading.Lock()


def media_type(format: str) -> str:
    """The media type of an image format."""
    return _TYPES.get(format, f"image/{format}")


def preview(path: Path, format: str, converted: Path) -> tuple[Path, str]:
    """The file to show for an image, and its media type; one that has to be converted is kept as `converted`.

    Raises:
        SrkdError: the image cannot be read.
    """
    if format in _SHOWN:
        return path, media_type(format)
    with _one_at_a_time:  # a decoded image is in memory
        if not converted.is_file():
            image = read_image(path)
            write_image(converted, replace(image, pixels=to_depth(image.pixels, deep=False)), "png")
    return converted, "image/png"
