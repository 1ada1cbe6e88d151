"""The table of image formats: their names, suffixes and capabilities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from srkd.errors import SrkdError, unknown
from srkd.files.atomic import printable_path
from srkd.files.remote import Url

ICC, EXIF, XMP, DPI = "colour profile", "EXIF", "XMP", "resolution"
IPTC, COMMENT, TEXT, GEO = "IPTC", "comment", "text", "georeference"


@dataclass(frozen=True)
class Format:
    """The capabilities of a file format; `pillow` are Pillow's names for it, `kept` the metadata that are written.

    `bits` is the largest depth that is written; a `lossy` format that is `exact` is lossless at quality 100. Files
    with a suffix of `reads` are read too, and written under the first of `suffixes`. `only_srgb`: it is written without
    a colour profile, so colours are converted to sRGB. `palette`: an image has at most 256 colours. Larger images than
    `max_side` and `max_pixels` cannot be written, or not read by the usual decoders.
    """

    name: str
    suffixes: tuple[str, ...]
    pillow: tuple[str, ...] = ()
    bits: int = 8
    alpha: bool = False
    colour: bool = True
    lossy: bool = False
    exact: bool = False
    max_side: int = 2**31 - 1
    max_pixels: int = 2**62
    streams: bool = False
    kept: frozenset[str] = frozenset()
    reads: tuple[str, ...] = ()
    only_srgb: bool = False
    animated: bool = False
    palette: bool = False

    @property
    def deep(self) -> bool:
        """Whether more than 8 bits are written."""
        return self.bits > 8


_PNG_KEEPS = frozenset({ICC, EXIF, XMP, DPI, TEXT, COMMENT})
_TIFF_KEEPS = frozenset({ICC, EXIF, XMP, DPI, IPTC, GEO})
_JPEG_KEEPS = frozenset({ICC, EXIF, XMP, DPI, IPTC, COMMENT})
_GIF_KEEPS = frozenset({COMMENT})
_USUAL = frozenset({ICC, EXIF, XMP})
_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg")
_JP2_READS = (".j2k", ".jpx", ".jpf", ".j2c")
_HEIC_READS = (".heif", ".hif")
_WRITTEN = (
    Format("png", (".png", ".apng"), ("PNG",), bits=16, alpha=True, streams=True, kept=_PNG_KEEPS, animated=True),
    Format("tiff", (".tif", ".tiff"), ("TIFF",), bits=16, alpha=True, streams=True, kept=_TIFF_KEEPS),
    Format("jpeg", _JPEG_SUFFIXES, ("JPEG", "MPO"), lossy=True, max_side=65500, streams=True, kept=_JPEG_KEEPS),
    Format("webp", (".webp",), ("WEBP",), 8, True, lossy=True, exact=True, max_side=16383, kept=_USUAL, animated=True),
    Format("bmp", (".bmp", ".dib"), ("BMP", "DIB"), alpha=True, kept=frozenset({DPI})),
    # libavif, which browsers use too, encodes up to 65536 a side but by default decodes no more than these.
    Format("avif", (".avif",), ("AVIF",), 8, True, lossy=True, max_side=32768, max_pixels=2**28, kept=_USUAL),
    Format("jxl", (".jxl",), ("JXL",), alpha=True, lossy=True, exact=True, kept=frozenset({EXIF, XMP}), only_srgb=True),
    Format(
        "heic",
        (".heic",),
        ("HEIF",),
        12,
        alpha=True,
        lossy=True,
        exact=True,
        max_side=16384,
        kept=_USUAL,
        reads=_HEIC_READS,
    ),
    Format(
        "jp2", (".jp2",), ("JPEG2000",), 16, alpha=True, lossy=True, exact=True, kept=_USUAL | {DPI}, reads=_JP2_READS
    ),
    Format("gif", (".gif",), ("GIF",), 8, True, max_side=65535, kept=_GIF_KEEPS, animated=True, palette=True),
    Format("pgm", (".pgm",), bits=16, colour=False, streams=True),
    Format("ppm", (".ppm", ".pnm"), ("PPM",), bits=16, streams=True),
    Format("pam", (".pam",), bits=16, alpha=True, streams=True),
)
_READ = (
    Format("pbm", (".pbm",)),
    Format("tga", (".tga",), ("TGA",)),
)
FORMATS = {known.name: known for known in _WRITTEN}
READ_ONLY = {known.name: known for known in _READ}  # results are saved as PNG
READABLE = FORMATS | READ_ONLY
SUFFIXES = tuple(suffix for known in READABLE.values() for suffix in known.suffixes + known.reads)
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
        if suffix in known.reads:
            raise SrkdError(f"{known.name} is written as {known.suffixes[0]}, not {suffix}; name it so")
    raise unknown("image format", name, FORMATS)


def format_of_suffix(suffix: str) -> Format | None:
    """The writable format of files with this suffix, in any case; None if there is none."""
    return next((known for known in FORMATS.values() if suffix.lower() in known.suffixes + known.reads), None)


def is_readable_name(name: str) -> bool:
    """Whether a file name has the suffix of an image that can be read."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_image_name(path: Path | Url) -> bool:
    """Whether a name has the suffix of an image, also of formats that are not read."""
    return path.suffix.lower() in SUFFIXES + _OTHER_IMAGES


def check_holds(path: Path | str, shape: tuple[int, int, int], format: Format) -> None:
    """Raise SrkdError if `format` cannot store an image of `shape` (H, W, C), to be written to `path`."""
    height, width, channels = shape
    if channels in (2, 4) and not format.alpha:
        raise SrkdError(
            f"{printable_path(path)}: {format.name} does not support transparency; choose png, tiff or webp"
        )
    if channels >= 3 and not format.colour:
        raise SrkdError(f"{printable_path(path)}: {format.name} stores grey images only; choose ppm or png")
    if max(height, width) > format.max_side:
        raise SrkdError(
            f"{printable_path(path)}: {width}x{height} exceeds the largest side of {format.name}, {format.max_side}"
        )
    if height * width > format.max_pixels:
        raise SrkdError(
            f"{printable_path(path)}: {width}x{height} exceeds the most pixels of {format.name}, {format.max_pixels:,}"
        )
