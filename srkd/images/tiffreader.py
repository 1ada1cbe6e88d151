"""Reading TIFF files: one image of integer samples, complete, and its metadata.

TIFF Revision 6.0, Adobe 1992. tifffile decodes 16 bits if no codec other than zlib is needed; OpenCV other 16-bit
files and 10, 12 and 14 bits; Pillow 8 bits, except big-endian BigTIFF, which it does not support.
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srkd.images import decoders, exif, geotiff, ifd, photoshop
from srkd.images.geotiff import Georeference
from srkd.images.ifd import Directory, Tag
from srkd.images.metadata import Metadata, left_out, resolution, upright_xmp
from srkd.images.tiff import ICC, IPTC, PHOTOSHOP, STORAGE, UNIT, X_RESOLUTION, XMP, Y_RESOLUTION

# Without this, Python prints tifffile's log messages on damaged files if the program has not set up logging.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_KINDS = {1: "unsigned integer", 2: "signed integer", 3: "floating-point"}
_ORIENTATION, _LAYERS = 274, 37724
_MOST_PAGES = 64  # checked: the image and smaller copies of it
_LARGEST_TILE = 1 << 24  # pixels, unless the image is as large
_PADDING = 1 << 20  # bytes that a strip may have beyond its rows
_NONE, _DEFLATE, _PACKBITS = (1,), (8, 32946), (32773,)


@dataclass(frozen=True)
class TiffHeader:
    """The size as stored, bits per sample, orientation 1-8."""

    height: int
    width: int
    bits: int
    orientation: int


def is_tiff(head: bytes) -> bool:
    return head[:4] in _MAGIC


def tiff_header(source: bytes | Path) -> TiffHeader:
    """The header of the one image in a TIFF file.

    Raises:
        ValueError: several pages, samples that are not integers of at most 16 bits, much larger tiles than the
            image, or a file that cannot be parsed.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(source) if isinstance(source, bytes) else source) as tif:
        page = tif.pages.first
        assert isinstance(page, tifffile.TiffPage)
        found = islice(tif.pages, _MOST_PAGES)  # a corrupt file may declare pages in a loop
        if sum(not p.is_reduced for p in found if isinstance(p, tifffile.TiffPage)) > 1:
            raise ValueError("a TIFF file of several pages; give its pages as single images")
        if page.bitspersample > 16 or page.sampleformat not in (1, 4):
            kind = _KINDS.get(page.sampleformat, "unusual")
            raise ValueError(f"{page.bitspersample}-bit {kind} samples; convert it to 8 or 16-bit integers")
        area = page.imagewidth * page.imagelength
        if page.is_tiled and page.tilewidth * page.tilelength > max(_LARGEST_TILE, 4 * area):
            size = f"{page.imagewidth}x{page.imagelength}"
            raise ValueError(f"tiles of {page.tilewidth}x{page.tilelength} pixels in an image of {size}")
        tag = page.tags.get(_ORIENTATION)
        orientation = int(tag.value) if tag and tag.value in range(1, 9) else 1
        return TiffHeader(page.imagelength, page.imagewidth, int(page.bitspersample), orientation)


def as_stored(data: bytes, header: TiffHeader) -> bytes:
    """The file with orientation 1, since only some decoders apply it."""
    if header.orientation == 1:
        return data
    first = ifd.first_directory(data)
    tag = first.tags[_ORIENTATION]
    kind_at, one = tag.at + 2, struct.pack(first.order + ("HQH6x" if first.big else "HIH2x"), ifd.SHORT, 1, 1)
    return b"".join([data[:kind_at], one, data[kind_at + len(one) :]])


def check_complete(data: bytes) -> None:
    """Raise ValueError if strips or tiles are missing, outside the file, too short, or much too long."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        page = tif.pages.first
        assert isinstance(page, tifffile.TiffPage)
        offsets, sizes = page.dataoffsets, page.databytecounts
        if len(offsets) < int(np.prod(page.chunked)) or len(sizes) < len(offsets):
            raise ValueError("truncated or corrupt (strips or tiles are missing)")
        for offset, size in zip(offsets, sizes, strict=False):
            if not offset or not size or offset + size > len(data):
                raise ValueError("truncated or corrupt (strips or tiles are missing)")
        compression = int(page.compression)
        if compression not in _NONE + _DEFLATE or page.is_subsampled:
            return
        for index, (offset, size) in enumerate(zip(offsets, sizes, strict=False)):
            expected = _expected_bytes(page, index)
            most = _expected_bytes(page, 0) + _PADDING
            strip = data[offset : offset + size]
            found = size if compression in _NONE else decoders.inflated_length([strip], most)
            if compression in _DEFLATE and found >= most:
                raise ValueError("a strip or tile inflates to much more than its part of the image")
            if found < expected:
                raise ValueError("truncated or corrupt (a strip or tile is too short)")


def _expected_bytes(page: Any, index: int) -> int:
    """The number of bytes of a strip or tile before compression; the last strip has only the remaining rows."""
    samples = page.samplesperpixel if int(page.planarconfig) == 1 else 1
    if page.is_tiled:
        return int(page.tilelength * ((page.tilewidth * samples * page.bitspersample + 7) // 8))
    rows = min(page.rowsperstrip, page.imagelength) or page.imagelength
    first = index % -(-page.imagelength // rows) * rows
    return int(min(rows, page.imagelength - first) * ((page.imagewidth * samples * page.bitspersample + 7) // 8))


def is_for_pillow(data: bytes, header: TiffHeader) -> bool:
    return header.bits <= 8 and data[:4] != b"MM\0+"


def read_tiff(data: bytes) -> NDArray[Any]:
    """Samples (H, W, C) as stored, C as in `ImageData`, alpha not premultiplied; more than 8 bits are scaled to 16.

    A fourth channel without a declared meaning is alpha, as OpenCV writes it.

    Raises:
        ValueError: corrupt, or a colour space that is neither grey nor RGB.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        page = tif.pages.first
        assert isinstance(page, tifffile.TiffPage)
        photometric, extra, bits = int(page.photometric), tuple(page.extrasamples), int(page.bitspersample)
        colours = {0: 1, 1: 1, 2: 3}.get(photometric)
        if colours is None or page.samplesperpixel - colours not in (0, 1) or len(extra) > 1:
            raise ValueError(
                f"{bits}-bit TIFF of {page.samplesperpixel} channels, photometric {photometric}; "
                "grey and RGB, with or without alpha, are read"
            )
        if bits in (8, 16) and int(page.compression) in _NONE + _DEFLATE + _PACKBITS:
            pixels = page.asarray()
            pixels = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 and int(page.planarconfig) == 2 else pixels
        elif bits in (10, 12, 14, 16):
            pixels = decoders.opencv(data)
            photometric = max(photometric, 1)  # OpenCV has already inverted it
        else:
            raise ValueError(f"{bits}-bit samples; convert it to 8 or 16 bits")
    if pixels.dtype != (np.uint8 if bits == 8 else np.uint16):
        raise ValueError(f"{bits}-bit samples that OpenCV cannot decode; convert it to 8 or 16 bits")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if 8 < bits < 16:  # OpenCV stores them in the upper bits
        pixels = ((pixels >> (16 - bits)) * (65535.0 / ((1 << bits) - 1)) + 0.5).astype(np.uint16)
    pixels = np.iinfo(pixels.dtype).max - pixels if photometric == 0 else pixels
    return _unmultiplied(pixels) if extra and int(extra[0]) == 1 else pixels


@dataclass(frozen=True)
class StripReader:
    """The rows (n, W, C) of an image of `shape` (H, W, C), strip by strip, and its colour profile."""

    shape: tuple[int, int, int]
    rows: Iterator[NDArray[Any]]
    icc: bytes | None


@contextmanager
def open_strips(path: Path) -> Iterator[StripReader]:
    """Open a file that `srkd.images.tiff.TiffWriter` has written; the image, of any size, is never whole in memory.

    Raises:
        ValueError: stored in another way, or truncated.
    """
    import tifffile

    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        assert isinstance(page, tifffile.TiffPage)
        stored = (int(page.compression), int(page.predictor), int(page.planarconfig), page.bitspersample in (8, 16))
        if page.is_tiled or stored != (_DEFLATE[0], 2, 1, True):
            raise ValueError("a TIFF file that srkd has not written")
        shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
        rows = (_strip(data) for data, _, _ in page.segments(maxworkers=1))
        yield StripReader(shape, rows, page.iccprofile)


def _strip(data: NDArray[Any] | None) -> NDArray[Any]:
    if data is None:
        raise ValueError("truncated or corrupt (a strip is missing)")
    rows: NDArray[Any] = data[0]
    return rows


def _unmultiplied(pixels: NDArray[Any]) -> NDArray[Any]:
    most = np.iinfo(pixels.dtype).max
    alpha = pixels[..., -1:].astype(np.float64)
    colour = np.divide(pixels[..., :-1] * float(most), alpha, out=np.zeros(pixels[..., :-1].shape), where=alpha > 0)
    return np.concatenate([np.minimum(np.rint(colour), most).astype(pixels.dtype), pixels[..., -1:]], axis=-1)


def metadata_of(data: bytes, header: TiffHeader) -> tuple[Metadata, tuple[str, ...]]:
    """(metadata, notes) of a TIFF file, of any byte order, with 32 or 64-bit offsets."""
    try:
        first = ifd.first_directory(data)
    except ValueError:
        return Metadata(), ("its tags are corrupt and were left out",)
    own, subs = exif.below_first(data, first)
    described = {tag: v for tag, v in own.items() if tag not in STORAGE | geotiff.TAGS and v.kind != ifd.IFD}
    packet, attached = upright_xmp(own[XMP].data if XMP in own else None)
    notes = list(left_out(attached))
    notes += ["its layers were left out"] if _LAYERS in own else []
    geo, more = _georeference(own, header)
    notes += more
    dpi = _resolution(first)
    if dpi is None and max(first.number(X_RESOLUTION), first.number(Y_RESOLUTION)) > 1:
        notes += ["its resolution is not plausible and was left out"] if first.number(UNIT, 2) in (2, 3) else []
    profile = own[ICC].data if ICC in own else None
    return Metadata(profile, exif.build_block(described, subs), packet, dpi, _photoshop(first), geo=geo), tuple(notes)


def _georeference(own: Mapping[int, Tag], header: TiffHeader) -> tuple[Georeference | None, list[str]]:
    """(the georeference among a directory's tags, notes)."""
    tags = {tag: own[tag].little() for tag in geotiff.TAGS & set(own)}
    if not tags:
        return None, []
    if header.orientation != 1:
        return None, ["its georeference, which is of the image as stored, was left out"]
    try:
        return Georeference(tags, header.height, header.width), []
    except ValueError:
        return None, ["its georeference is corrupt and was left out"]


def _resolution(first: Directory) -> tuple[float, float] | None:
    unit = {2: 1.0, 3: 2.54}.get(first.number(UNIT, 2))
    try:
        x, y = (first.tags[tag].values()[0] for tag in (X_RESOLUTION, Y_RESOLUTION))
    except (KeyError, ValueError):  # absent, or not a number
        return None
    return None if unit is None else resolution((x, y), unit)


def _photoshop(first: Directory) -> bytes | None:
    if PHOTOSHOP in first.tags:
        return photoshop.without_thumbnails(first.tags[PHOTOSHOP].data) or None
    if IPTC not in first.tags:
        return None
    records = first.tags[IPTC]  # often declared as 32-bit numbers
    return photoshop.build_resources(records.data if records.data[:1] == b"\x1c" else records.little().data)
