"""Metadata of an image: colour profile, EXIF, XMP, IPTC, resolution, comments, georeference; what formats store."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from srkd.images import exif, formats, icc, xmp
from srkd.images.formats import Format
from srkd.images.geotiff import Georeference

_MOST_DPI = 100_000.0


@dataclass(frozen=True)
class Metadata:
    """What is copied from the input file to the output file.

    `exif` is a block as in JPEG, starting with b"Exif\\0\\0", and `xmp` a packet, both of an upright image; `photoshop`
    contains image resources, among them IPTC; `png_colour` maps types of chunks to their data, `png_text` contains
    whole chunks; `size` is the (height, width) of the upright image when it was read.
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
        """The EXIF block for an image of this size."""
        return exif.sized(self.exif, height, width) if self.exif else None

    def xmp_for(self, height: int, width: int) -> bytes | None:
        """The XMP packet for an image of this size."""
        before = self.size or (height, width)
        return xmp.sized(self.xmp, height, width, (height / before[0], width / before[1])) if self.xmp else None


def upright_exif(block: bytes | None) -> tuple[int, bytes | None, tuple[str, ...]]:
    """(orientation, the block for the image turned upright, notes); a corrupt block is dropped."""
    if not block:
        return 1, None, ()
    try:
        return exif.orientation(block), exif.upright(block), ()
    except ValueError:
        return 1, None, ("its EXIF data is corrupt and was left out",)


def upright_xmp(packet: Any) -> tuple[bytes | None, tuple[str, ...]]:
    """(the packet for the image turned upright, the names of attachments it declared, which are dropped)."""
    if not packet:
        return None, ()
    raw = packet.encode() if isinstance(packet, str) else bytes(packet)
    raw, attached = xmp.without_attachments(xmp.upright(raw))
    return raw or None, attached


def left_out(attached: Iterable[str]) -> tuple[str, ...]:
    """Notes on attachments that are dropped."""
    return tuple(f"its {what} was left out" for what in attached)


def resolution(value: Any, unit: float = 1.0) -> tuple[float, float] | None:
    """Dots per inch across and down; None if impossible, such as the 4294967295 of some broken files."""
    try:
        x, y = (float(v) * unit for v in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if all(math.isfinite(v) and 0 < v <= _MOST_DPI for v in (x, y)) else None


_FIELDS = {
    formats.ICC: "icc",
    formats.EXIF: "exif",
    formats.XMP: "xmp",
    formats.DPI: "dpi",
    formats.IPTC: "photoshop",
    formats.COMMENT: "comment",
    formats.GEO: "geo",
    formats.TEXT: "png_text",
}
# A JPEG segment has 65,533 bytes, including its signature; a profile may be split over 255 of them.
_JPEG_LIMITS = {"exif": 65533, "xmp": 65533 - 29, "photoshop": 65533 - 14, "comment": 65533, "icc": 255 * 65519}


def fit_metadata(metadata: Metadata, format: Format, grey: bool) -> tuple[Metadata, tuple[str, ...]]:
    """(the part that a file of `format` can store, the names of the rest); `grey`: the image has one colour channel."""
    metadata, lost = _coloured(metadata, format, grey)
    for what, name in _FIELDS.items():
        value = getattr(metadata, name)
        too_large = format.name == "jpeg" and name in _JPEG_LIMITS and len(value or b"") > _JPEG_LIMITS[name]
        if value and (too_large or what not in format.kept):
            metadata = replace(metadata, **{name: getattr(Metadata(), name)})
            lost.append(f"{what} of {len(value) / 1024:,.0f} KB" if too_large and what in format.kept else what)
    return metadata, tuple(lost)


def _coloured(metadata: Metadata, format: Format, grey: bool) -> tuple[Metadata, list[str]]:
    """A PNG's colour chunks as a profile, for formats without such chunks."""
    profile, chunks = metadata.icc, metadata.png_colour
    lost: list[str] = []
    if format.name == "png":
        return metadata, []
    if profile is None and (b"cICP" in chunks or b"sRGB" not in chunks):
        try:
            profile = icc.of_png(chunks.get(b"gAMA"), chunks.get(b"cHRM"), chunks.get(b"cICP"), grey)
        except (ValueError, struct.error) as error:
            lost.append(str(error) if isinstance(error, ValueError) else "colour space")
    if profile is not None and profile[16:20] == b"GRAY" and format.name in ("webp", "avif"):
        profile, lost = None, [*lost, "grey colour profile"]  # they store grey images as RGB
    return replace(metadata, icc=profile, png_colour={}), lost
