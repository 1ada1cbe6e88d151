"""The table of image formats, from `srkd.images.formats`."""

from __future__ import annotations

from collections.abc import Sequence

from srkd.docs.markdown import table
from srkd.images import formats
from srkd.images.formats import Format

_KEPT = (
    formats.ICC,
    formats.EXIF,
    formats.XMP,
    formats.IPTC,
    formats.DPI,
    formats.TEXT,
    formats.COMMENT,
    formats.GEO,
)


def formats_table(sources: object, words: Sequence[str]) -> str:
    """`formats`: each format with its suffixes, what is written, and the metadata that are kept."""
    return table(
        ["format", "suffixes", "written", "lossless", "transparency", "kept besides pixels"],
        [_row(known) for known in formats.READABLE.values()],
    )


def _row(known: Format) -> list[str]:
    suffixes = ", ".join(known.suffixes) + (f" (also read: {', '.join(known.reads)})" if known.reads else "")
    if known.name in formats.READ_ONLY:
        return [known.name, suffixes, "as PNG", "-", "-", "what PNG can store"]
    lossless = "always" if not known.lossy else "at quality 100, or if the input was" if known.exact else "never"
    lossless = "up to 256 colours a frame" if known.palette else lossless
    bits = "8 bits" if known.bits == 8 else f"8 and {known.bits} bits"
    bits += ", animations" if known.animated else ""
    return [
        known.name,
        suffixes,
        bits if known.colour else f"{bits}, grey",
        lossless,
        "yes" if known.alpha else "no",
        ", ".join(what for what in _KEPT if what in known.kept) or "-",
    ]
