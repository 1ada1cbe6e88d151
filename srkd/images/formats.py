"""The table of image formats: their names, suffixes and capabilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from srkd.errors import SrkdError, unknown
from srkd.files.atomic import printable_path

ICC, EXIF, XMP, DPI = "colour profile", "EXIF", "XMP", "resolution"
IPTC, COMMENT, TEXT, GEO = "IPTC", "comment", "text", "georeference"


@dataclass(frozen=True)
class Format:
    """The capabilities of a file format; `pillow` are Pillow's names for it, `kept` the metadata that are written."""

    name: str
    suffixes: tuple[str, ...]
    pillow: tuple[str, ...]
    deep: bool = False  # 16 bits
    alpha: bool = False
    lossy: bool = False
    max_side: int = 2**31 - 1
    streams: bool = False
    kept: frozenset[str] = frozenset()


_PNG_KEEPS = frozenset({ICC, EXIF, XMP, DPI, TEXT, COMMENT})
_TIFF_KEEPS = frozenset({ICC, EXIF, XMP, DPI, IPTC, GEO})
_JPEG_KEEPS = frozenset({ICC, EXIF, XMP, DPI, IPTC, COMMENT})
_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg")
_WRITTEN = (
    Format("png", (".png", ".apng"), ("PNG",), deep=True, alpha=True, streams=True, kept=_PNG_KEEPS),
    Format("tiff", (".tif", ".tiff"), ("TIFF",), deep=True, alpha=True, streams=True, kept=_TIFF_KEEPS),
    Format("jpeg", _JPEG_SUFFIXES, ("JPEG", "MPO"), lossy=True, max_side=65500, kept=_JPEG_KEEPS),
    Format("webp", (".webp",), ("WEBP",), alpha=True, lossy=True, max_side=16383, kept=frozenset({ICC, EXIF, XMP})),
    Format("bmp", (".bmp", ".dib"), ("BMP", "DIB"), alpha=True, kept=frozenset({DPI})),
    Format("avif", (".avif",), ("AVIF",), alpha=True, lossy=True, max_side=65536, kept=frozenset({ICC, EXIF, XMP})),
)
_READ = (
    Format("gif", (".gif",), ("GIF",)),
    Format("jpeg2000", (".jp2", ".j2k", ".jpx", ".jpf", ".j2c"), ("JPEG2000",)),
    Format("ppm", (".ppm", ".pgm", ".pbm", ".pnm"), ("PPM",)),
    Format("tga", (".tga",), ("TGA",)),
    Format("heic", (".heic", ".heif", ".hif"), ("HEIF",)),
    Format("jxl", (".jxl",), ("JXL",)),
)
FORMATS = {known.name: known for known in _WRITTEN}
READ_ONLY = {known.name: known for known in _READ}  # results are saved as PNG
READABLE = FORMATS | READ_ONLY
SUFFIXES = tuple(suffix for known in READABLE.values() for suffix in known.suffixes)
# Suffixes of images that are not read; a path with one of them is a file, not a folder.
_OTHER_IMAGES = (".psd", ".svg", ".ico", ".exr", ".hdr", ".dng", ".cr2", ".nef", ".arw")


def format_named(name: str) -> Format:
    """The writable format of a name such as "png", "jpg" or ".TIF".

    Raises:
        SrkdError: a format that is only read, or an unknown one; the message names the nearest.
    """
    suffix = "." + name.lower().lstrip(".")
    for known in READABLE.values():
        if suffix in known.suffixes or suffix == "." + known.name:
            if known.name in FORMATS:
                return known
            raise SrkdError(f"{known.name} can be read but not written; choose {', '.join(FORMATS)}")
    raise unknown("image format", name, FORMATS)


def is_image_name(path: Path) -> bool:
    """Whether a name has the suffix of an image, also of formats that are not read."""
    return path.suffix.lower() in SUFFIXES + _OTHER_IMAGES


def check_holds(path: Path | str, shape: tuple[int, int, int], format: Format) -> None:
    """Raise SrkdError if `format` cannot store an image of `shape` (H, W, C), to be written to `path`."""
    height, width, channels = shape
    if channels in (2, 4) and not format.alpha:
        raise SrkdError(
            f"{printable_path(path)}: {format.name} does not support transparency; choose png, tiff or webp"
        )
    if max(height, width) > format.max_side:
        raise SrkdError(
            f"{printable_path(path)}: {width}x{height} exceeds the largest side of {format.name}, {format.max_side}"
        )
