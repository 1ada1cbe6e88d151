"""The one table of image formats: their names and suffixes, and what a file of each can hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from srkd.errors import SrkdError, unknown
from srkd.files.atomic import printable_path

ICC, EXIF, XMP, DPI, IPTC, COMMENT, TEXT, GEO = (
    "colour profile",
    "EXIF",
    "XMP",
    "resolution",
    "IPTC",
    "comment",
    "text",
    "georeference",
)


@dataclass(frozen=True)
class Format:
    """What a file format can hold. `pillow` are Pillow's names for it, `kept` the metadata that are written."""

    name: str
    suffixes: tuple[str, ...]
    pillow: tuple[str, ...]
    deep: bool = False  # 16 bits
    alpha: bool = False
    lossy: bool = False
    max_side: int = 2**31 - 1
    streams: bool = False
    kept: frozenset[str] = frozenset()


FORMATS = {
    f.name: f
    for f in (
        Format(
            "png",
            (".png", ".apng"),
            ("PNG",),
            deep=True,
            alpha=True,
            streams=True,
            kept=frozenset({ICC, EXIF, XMP, DPI, TEXT, COMMENT}),
        ),
        Format(
            "tiff",
            (".tif", ".tiff"),
            ("TIFF",),
            deep=True,
            alpha=True,
            streams=True,
            kept=frozenset({ICC, EXIF, XMP, DPI, IPTC, GEO}),
        ),
        Format(
            "jpeg",
            (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg"),
            ("JPEG", "MPO"),
            lossy=True,
            max_side=65500,
            kept=frozenset({ICC, EXIF, XMP, DPI, IPTC, COMMENT}),
        ),
        Format("webp", (".webp",), ("WEBP",), alpha=True, lossy=True, max_side=16383, kept=frozenset({ICC, EXIF, XMP})),
        Format("bmp", (".bmp", ".dib"), ("BMP", "DIB"), alpha=True, kept=frozenset({DPI})),
    )
}
# Read and not written: what comes of them is saved as PNG.
READ_ONLY = {
    f.name: f
    for f in (
        Format("gif", (".gif",), ("GIF",)),
        Format("avif", (".avif",), ("AVIF",)),
        Format("jpeg2000", (".jp2", ".j2k", ".jpx", ".jpf", ".j2c"), ("JPEG2000",)),
        Format("ppm", (".ppm", ".pgm", ".pbm", ".pnm"), ("PPM",)),
        Format("tga", (".tga",), ("TGA",)),
    )
}
READABLE = FORMATS | READ_ONLY
SUFFIXES = tuple(suffix for known in READABLE.values() for suffix in known.suffixes)
# Files that are images too, which are not read; a name that ends so is no folder's.
_OTHER_IMAGES = (".heic", ".heif", ".jxl", ".psd", ".svg", ".ico", ".exr", ".hdr", ".dng", ".cr2", ".nef", ".arw")


def format_named(name: str) -> Format:
    """The format of a name such as "png", "jpg" or ".TIF" that can be written.

    Raises:
        SrkdError: one that is only read, or an unknown one, for which the nearest is named.
    """
    suffix = "." + name.lower().lstrip(".")
    for known in READABLE.values():
        if suffix in known.suffixes or suffix == "." + known.name:
            if known.name in FORMATS:
                return known
            raise SrkdError(f"{known.name} is read and not written; choose {', '.join(FORMATS)}")
    raise unknown("image format", name, FORMATS)


def is_image_name(path: Path) -> bool:
    """Whether a name ends like an image's, of a format that is read or of another."""
    return path.suffix.lower() in SUFFIXES + _OTHER_IMAGES


def check_holds(path: Path | str, shape: tuple[int, int, int], format: Format) -> None:
    """Raise SrkdError where `format` cannot hold an image of `shape` (H, W, C), to be written to `path`."""
    height, width, channels = shape
    if channels in (2, 4) and not format.alpha:
        raise SrkdError(f"{printable_path(path)}: {format.name} holds no transparency; choose png, tiff or webp")
    if max(height, width) > format.max_side:
        raise SrkdError(
            f"{printable_path(path)}: {width}x{height} passes the {format.max_side} a side of {format.name}"
        )
