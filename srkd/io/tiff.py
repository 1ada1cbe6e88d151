"""TIFF files: 16-bit samples, which Pillow cuts to 8, and a writer that needs only a strip of rows in memory.

TIFF Revision 6.0, Adobe 1992; deflate and horizontal differencing as in its technical notes of 2002.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from srkd.io.metadata import DESCRIPTIVE, EXIF_IFD, GPS_IFD, Metadata

# What tifffile says of a damaged file, Python prints where no program has set up logging; the error says it in a line.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_KINDS = {1: "unsigned integer", 2: "signed integer", 3: "floating-point"}
_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 2, 3, 4, 5, 7
_PACKED = {_SHORT: "H", _LONG: "I", _RATIONAL: "I"}
_INTEROP_IFD = 0xA005
_MOST_PAGES = 64  # that are looked at: the picture and smaller copies of it
_STRIP_BYTES = 1 << 18
_MAX_BYTES = 2**32 - 2**24  # offsets have 32 bits; the rest is for the directory


@dataclass(frozen=True)
class TiffHeader:
    """What `read_tiff` will find: the size as stored, bits per sample, orientation 1-8."""

    height: int
    width: int
    bits: int
    orientation: int


def is_tiff(head: bytes) -> bool:
    return head[:4] in _MAGIC


def tiff_header(source: bytes | Path) -> TiffHeader:
    """The header of the one picture in a TIFF file.

    Raises:
        ValueError: several pages, samples that are not integers of at most 16 bits, or not to be parsed.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(source) if isinstance(source, bytes) else source) as tif:
        page = tif.pages.first
        assert isinstance(page, tifffile.TiffPage)
        found = islice(tif.pages, _MOST_PAGES)  # a damaged file may have pages without end
        if sum(not p.is_reduced for p in found if isinstance(p, tifffile.TiffPage)) > 1:
            raise ValueError("a TIFF file of several pages; give its pages as single pictures")
        if page.bitspersample > 16 or page.sampleformat not in (1, 4):
            kind = _KINDS.get(page.sampleformat, "unusual")
            raise ValueError(f"{page.bitspersample}-bit {kind} samples; convert it to 8 or 16-bit integers")
        tag = page.tags.get(274)
        orientation = int(tag.value) if tag and tag.value in range(1, 9) else 1
        return TiffHeader(page.imagelength, page.imagewidth, int(page.bitspersample), orientation)


def read_tiff16(data: bytes) -> NDArray[np.uint16]:
    """The 16-bit samples (H, W, C) of a TIFF file, C as in `Picture`, not turned; alpha not multiplied in.

    tifffile decodes what needs no codec beyond zlib; OpenCV, which knows LZW, decodes the rest.

    Raises:
        ValueError: truncated, corrupt, or a colour space that is neither grey nor RGB.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        page = tif.pages.first
        assert isinstance(page, tifffile.TiffPage)
        photometric, extra = int(page.photometric), tuple(page.extrasamples)
        colours = {0: 1, 1: 1, 2: 3}.get(photometric)
        if colours is None or page.samplesperpixel - colours != len(extra) or len(extra) > 1:
            raise ValueError(f"16-bit TIFF of {page.samplesperpixel} channels, photometric {photometric}; "
                             "grey and RGB, with or without alpha, are read")  # fmt: skip
        if int(page.compression) in (1, 8, 32946, 32773):
            pixels = page.asarray()
            pixels = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 and int(page.planarconfig) == 2 else pixels
        else:
            pixels = _read_by_opencv(data)
            photometric = max(photometric, 1)  # OpenCV has inverted it already
    pixels = pixels.reshape(*pixels.shape[:2], -1).astype(np.uint16)
    pixels = 65535 - pixels if photometric == 0 else pixels
    return _unmultiplied(pixels) if extra and int(extra[0]) == 1 else pixels


def _read_by_opencv(data: bytes) -> NDArray[np.uint16]:
    from srkd.io.opencv import decode

    return decode(data)


def _unmultiplied(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    alpha = pixels[..., -1:].astype(np.float64)
    colour = np.divide(pixels[..., :-1] * 65535.0, alpha, out=np.zeros(pixels[..., :-1].shape), where=alpha > 0)
    return np.concatenate([np.minimum(np.rint(colour), 65535).astype(np.uint16), pixels[..., -1:]], axis=-1)


class TiffWriter:
    """Writes (n, W, C) blocks of uint8 or uint16 rows as deflated strips; `finish` writes the directory after them."""

    def __init__(
        self, stream: BinaryIO, height: int, width: int, channels: int, dtype: np.dtype[Any], metadata: Metadata
    ) -> None:
        if height * width * channels * dtype.itemsize > _MAX_BYTES:
            raise ValueError(f"{width}x{height} pixels pass the 4 GiB that a TIFF file can hold; choose PNG")
        self._stream, self._metadata = stream, metadata
        self._shape, self._dtype = (height, width, channels), dtype
        self._strip_rows = max(1, _STRIP_BYTES // (width * channels * dtype.itemsize))
        self._waiting = np.empty((0, width, channels), dtype)
        self._strips: list[tuple[int, int]] = []
        stream.write(b"II*\0" + bytes(4))

    def write(self, rows: NDArray[Any]) -> None:
        self._waiting = np.concatenate([self._waiting, rows])
        while len(self._waiting) >= self._strip_rows:
            self._emit(self._waiting[: self._strip_rows])
            self._waiting = self._waiting[self._strip_rows :]

    def finish(self) -> None:
        if len(self._waiting):
            self._emit(self._waiting)
        tags = self._structural() | self._descriptive()
        at = self._align()
        self._stream.write(_directory(tags, at))
        self._stream.seek(4)
        self._stream.write(struct.pack("<I", at))

    def _align(self) -> int:
        """Directories begin at even offsets."""
        self._stream.write(bytes(self._stream.tell() % 2))
        return self._stream.tell()

    def _emit(self, rows: NDArray[Any]) -> None:
        little = rows.astype(self._dtype.newbyteorder("<"))
        little[:, 1:] -= rows[:, :-1]
        data = zlib.compress(little.tobytes(), 1)
        self._strips.append((self._stream.tell(), len(data)))
        self._stream.write(data)

    def _structural(self) -> dict[int, tuple[int, Any]]:
        height, width, channels = self._shape
        offsets, sizes = zip(*self._strips, strict=True)
        tags = {
            256: (_LONG, (width,)),
            257: (_LONG, (height,)),
            258: (_SHORT, (8 * self._dtype.itemsize,) * channels),
            259: (_SHORT, (8,)),  # deflate
            262: (_SHORT, (2 if channels > 2 else 1,)),
            273: (_LONG, offsets),
            277: (_SHORT, (channels,)),
            278: (_LONG, (self._strip_rows,)),
            279: (_LONG, sizes),
            284: (_SHORT, (1,)),
            317: (_SHORT, (2,)),  # each sample as its difference to the one before
        }
        return tags | ({338: (_SHORT, (2,))} if channels in (2, 4) else {})  # alpha, not multiplied into the colours

    def _descriptive(self) -> dict[int, tuple[int, Any]]:
        from PIL import Image

        tags: dict[int, tuple[int, Any]] = {}
        if self._metadata.dpi:
            x, y = (round(dpi * 1000) for dpi in self._metadata.dpi)
            tags |= {282: (_RATIONAL, (x, 1000)), 283: (_RATIONAL, (y, 1000)), 296: (_SHORT, (2,))}
        if self._metadata.icc:
            tags[34675] = (_UNDEFINED, self._metadata.icc)
        if self._metadata.xmp:
            tags[700] = (_BYTE, self._metadata.xmp)
        block = self._metadata.exif_for(*self._shape[:2])
        exif = Image.Exif()
        exif.load(block or b"")
        for tag in DESCRIPTIVE & set(exif):
            if tag in (EXIF_IFD, GPS_IFD):
                tags[tag] = (_LONG, (self._write_sub_directory(tag, exif.get_ifd(tag)),))
            else:
                tags[tag] = (_ASCII, str(exif[tag]).encode() + b"\0")
        return tags

    def _write_sub_directory(self, tag: int, entries: dict[int, Any]) -> int:
        from PIL.TiffImagePlugin import ImageFileDirectory_v2

        directory = ImageFileDirectory_v2(b"II*\0\0\0\0\0", group=tag)
        for key, value in entries.items():
            if key != _INTEROP_IFD:  # a pointer of the file that was read
                directory[key] = value
        at = self._align()
        self._stream.write(directory.tobytes(at))
        return at


def _directory(tags: dict[int, tuple[int, Any]], at: int) -> bytes:
    """A directory that begins at offset `at`: twelve bytes a tag, then the values that do not fit into four."""
    entries, rest = b"", b""
    values_at = at + 2 + 12 * len(tags) + 4
    for tag, (kind, value) in sorted(tags.items()):
        data = struct.pack(f"<{len(value)}{_PACKED[kind]}", *value) if kind in _PACKED else value
        count = len(value) // 2 if kind == _RATIONAL else len(value)
        if len(data) > 4:
            place, rest = struct.pack("<I", values_at + len(rest)), rest + data + bytes(len(data) % 2)
        else:
            place = data.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, kind, count) + place
    return struct.pack("<H", len(tags)) + entries + bytes(4) + rest
