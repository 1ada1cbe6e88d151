"""How much of an image's metadata a file of another format can hold."""

from __future__ import annotations

import struct
from dataclasses import replace

from srkd.images import formats, icc
from srkd.images.formats import Format
from srkd.images.metadata import Metadata

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
_EMPTY = Metadata()
# A JPEG segment holds 65,533 bytes, the name of what is in it included.
_JPEG_MOST = {"exif": 65533, "xmp": 65533 - 29, "photoshop": 65533 - 14, "comment": 65533, "icc": 255 * 65519}


def fit_metadata(metadata: Metadata, format: Format, grey: bool) -> tuple[Metadata, tuple[str, ...]]:
    """(what a file of `format` holds of it, the names of what it cannot); `grey`: with one channel of colour."""
    metadata, lost = _coloured(metadata, format, grey)
    for what, name in _FIELDS.items():
        value = getattr(metadata, name)
        if value and what not in format.kept:
            metadata, lost = replace(metadata, **{name: getattr(_EMPTY, name)}), [*lost, what]
        elif value and format.name == "jpeg" and name in _JPEG_MOST and len(value) > _JPEG_MOST[name]:
            too_large = f"{what} of {len(value) / 1024:,.0f} KB"
            metadata, lost = replace(metadata, **{name: getattr(_EMPTY, name)}), [*lost, too_large]
    return metadata, tuple(lost)


def _coloured(metadata: Metadata, format: Format, grey: bool) -> tuple[Metadata, list[str]]:
    """With a PNG's colour chunks made a profile for formats that have no such chunks."""
    profile, chunks = metadata.icc, metadata.png_colour
    lost: list[str] = []
    if format.name == "png":
        return metadata, []
    if profile is None and (b"cICP" in chunks or b"sRGB" not in chunks):
        try:
            profile = icc.of_png(chunks.get(b"gAMA"), chunks.get(b"cHRM"), chunks.get(b"cICP"), grey)
        except (ValueError, struct.error) as error:
            lost.append(str(error) if isinstance(error, ValueError) else "colour space")
    if profile is not None and profile[16:20] == b"GRAY" and format.name == "webp":
        profile, lost = None, [*lost, "grey colour profile"]  # WebP has no grey images for it to describe
    return replace(metadata, icc=profile, png_colour={}), lost
