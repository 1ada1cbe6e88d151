"""What a picture file says besides its pixels: colour profile, EXIF, XMP, resolution."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

ORIENTATION, EXIF_IFD, GPS_IFD, PREVIEW_IFD = 0x0112, 0x8769, 0x8825, 1
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_TIFF_XMP, _TIFF_ICC, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 700, 34675, 282, 283, 296
# The tags of a first directory that describe the picture and not how a file stores it.
DESCRIPTIVE = frozenset({0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, EXIF_IFD, GPS_IFD})
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[2-8]")


@dataclass(frozen=True)
class Metadata:
    """What goes from the input file to the output file.

    `exif` is a block as JPEG holds it, b"Exif\\0\\0" first, without orientation and preview; `xmp` says upright too.
    `png_chunks` are whole chunks (colour space, text) that only another PNG can take.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    png_chunks: bytes = b""

    def exif_for(self, height: int, width: int) -> bytes | None:
        """The EXIF block with the pixel size, where it states one, set to that of the picture being written."""
        if self.exif is None:
            return None
        exif = Image.Exif()
        exif.load(self.exif)
        directory = exif.get_ifd(EXIF_IFD)
        for tag, value in ((_PIXEL_WIDTH, width), (_PIXEL_HEIGHT, height)):
            if tag in directory:
                directory[tag] = value
        return exif.tobytes()


def from_pillow(image: Image.Image) -> tuple[int, Metadata, tuple[str, ...]]:
    """(EXIF orientation 1-8, metadata, notes) of an opened picture that is not a TIFF."""
    info = image.info

    def load() -> Image.Exif:
        exif = Image.Exif()
        exif.load(info.get("exif", b""))  # not getexif(), which decodes a PNG file whole to find its EXIF chunk
        return exif

    orientation, exif, notes = _safely(load)
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    return orientation, Metadata(info.get("icc_profile"), exif, _upright_xmp(xmp), _dpi(info.get("dpi"))), notes


def from_tiff(data: bytes) -> tuple[int, Metadata, tuple[str, ...]]:
    """(orientation, metadata, notes) of a TIFF file: EXIF blocks are TIFF files, so Pillow's EXIF parser reads both."""
    tags: Mapping[int, Any] = {}

    def load() -> Image.Exif:
        nonlocal tags
        exif = Image.Exif()
        exif.load(b"Exif\0\0" + data)
        tags = dict(exif)
        return exif

    orientation, exif, notes = _safely(load)
    unit = {2: 1.0, 3: 2.54}.get(tags.get(_RESOLUTION_UNIT, 2))
    dpi = _dpi((tags.get(_X_RESOLUTION), tags.get(_Y_RESOLUTION)), unit) if unit else None
    return orientation, Metadata(_raw(tags.get(_TIFF_ICC)), exif, _upright_xmp(tags.get(_TIFF_XMP)), dpi), notes


def _safely(load: Any) -> tuple[int, bytes | None, tuple[str, ...]]:
    """Orientation and normalised EXIF block; metadata that Pillow cannot parse is left out, which a note says."""
    try:
        exif = load()
        orientation = exif.get(ORIENTATION, 1)
        return orientation if orientation in range(1, 9) else 1, _normalised(exif), ()
    except Exception:  # Pillow raises whatever a broken block leads it to; the pixels are not concerned
        return 1, None, ("its EXIF data is corrupt and was left out",)


def _normalised(exif: Image.Exif) -> bytes | None:
    kept = Image.Exif()
    for tag in DESCRIPTIVE & set(exif):
        directory = exif.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else None
        kept[tag] = exif[tag] if directory is None else directory
    return kept.tobytes() if len(kept) else None


def _upright_xmp(xmp: Any) -> bytes | None:
    raw = _raw(xmp)
    return _XMP_ORIENTATION.sub(rb"\g<1>1", raw) if raw else None


def _raw(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else bytes(value) if value else None


def _dpi(value: Any, unit: float = 1.0) -> tuple[float, float] | None:
    try:
        x, y = (float(v) * unit for v in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < math.inf and 0 < y < math.inf else None
