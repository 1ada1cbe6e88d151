"""What an image file says besides its pixels: colour, EXIF, XMP, IPTC, resolution, comments, place on Earth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from srkd.images import exif, xmp
from srkd.images.geotiff import Georeference

_MOST_DPI = 100_000.0


@dataclass(frozen=True)
class Metadata:
    """What goes from the input file to the output file.

    `exif` is a block as JPEG holds it, b"Exif\\0\\0" first, and `xmp` a packet, both of an upright image; `photoshop`
    are image resources, IPTC among them; `png_colour` are chunks by their types, `png_text` whole chunks; `size` is the
    (height, width) of the upright image that all this was read with.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    photoshop: bytes | None = None
    comment: bytes | None = None
    geo: Georeference | None = None
    png_colour: Mapping[bytes, bytes] = field(default_factory=dict)
    png_text: bytes = b""
    size: tuple[int, int] | None = field(default=None, compare=False)

    def exif_for(self, height: int, width: int) -> bytes | None:
        """The EXIF block with the pixel size, where it states one, set to that of the image being written."""
        return exif.sized(self.exif, height, width) if self.exif else None

    def xmp_for(self, height: int, width: int) -> bytes | None:
        """The XMP packet with the pixel sizes that it states set to those of the image being written."""
        before = self.size or (height, width)
        return xmp.sized(self.xmp, height, width, (height / before[0], width / before[1])) if self.xmp else None


def upright_exif(block: bytes | None) -> tuple[int, bytes | None, tuple[str, ...]]:
    """(orientation, the block of the image turned upright, notes); a block that makes no sense is left out."""
    if not block:
        return 1, None, ()
    try:
        return exif.orientation(block), exif.upright(block), ()
    except ValueError:
        return 1, None, ("its EXIF data is corrupt and was left out",)


def upright_xmp(packet: Any) -> tuple[bytes | None, tuple[str, ...]]:
    """(the packet of the image turned upright and alone in its file, what it announced that is no longer there)."""
    if not packet:
        return None, ()
    raw = packet.encode() if isinstance(packet, str) else bytes(packet)
    raw, announced = xmp.without_attachments(xmp.upright(raw))
    return raw or None, announced


def resolution(value: Any, unit: float = 1.0) -> tuple[float, float] | None:
    """Dots per inch across and down; None for what cannot be, such as the 4294967295 of broken files."""
    try:
        x, y = (float(v) * unit for v in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if all(math.isfinite(v) and 0 < v <= _MOST_DPI for v in (x, y)) else None
