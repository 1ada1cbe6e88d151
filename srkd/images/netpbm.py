"""Netpbm files: PGM, PPM and PAM of 8 and 16 bits, read and written row by row (netpbm.sourceforge.net/doc).

Files with several images are read up to the end of the first; bitmaps (PBM) are left to Pillow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]

HEADER_BYTES = 1 << 12  # a header with its comments is at most so long
_GAP = rb"(?:\s|#[^\n]*\n)+"
_CLASSIC = re.compile(rb"P([2356])" + (_GAP + rb"(\d{1,10})") * 3 + rb"\s")
_PAM = re.compile(rb"P7\n(.*?)\n?ENDHDR\n", re.DOTALL)
_CHANNELS = {b"2": 1, b"3": 3, b"5": 1, b"6": 3}
_COMMENT = re.compile(rb"#[^\n]*")


@dataclass(frozen=True)
class NetpbmHeader:
    """Sides, channels, the value of white, whether samples are written as text, and where they start."""

    height: int
    width: int
    channels: int
    most: int
    plain: bool
    start: int
    name: str


def is_netpbm(head: bytes) -> bool:
    """Whether a file is PGM, PPM or PAM, by its first bytes."""
    return head[:2] in (b"P2", b"P3", b"P5", b"P6") or head[:3] == b"P7\n"


def header(data: bytes) -> NetpbmHeader:
    """The header of a file's start. Raises ValueError if it is truncated, or of samples that are not supported."""
    if data.startswith(b"P7\n"):
        return _pam_header(data[:HEADER_BYTES])
    found = _CLASSIC.match(data[:HEADER_BYTES])
    if found is None:
        raise ValueError("an image whose header is truncated or corrupt")
    width, height, most = (int(found[i]) for i in (2, 3, 4))
    channels = _CHANNELS[found[1]]
    return _checked(height, width, channels, most, found[1] in b"23", found.end(), "pgm" if channels == 1 else "ppm")


def _pam_header(data: bytes) -> NetpbmHeader:
    found = _PAM.match(data)
    if found is None:
        raise ValueError("an image whose header is truncated or corrupt")
    lines = [line.split(None, 1) for line in found[1].splitlines() if line.strip() and not line.startswith(b"#")]
    try:
        fields = {line[0]: line[1] for line in lines}
        height, width, depth, most = (int(fields[key]) for key in (b"HEIGHT", b"WIDTH", b"DEPTH", b"MAXVAL"))
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError("an image whose header is truncated or corrupt") from error
    if depth not in (1, 2, 3, 4):
        raise ValueError(f"a PAM file of {depth} channels; convert it to grey or RGB, with or without alpha")
    return _checked(height, width, depth, most, False, found.end(), "pam")


def _checked(height: int, width: int, channels: int, most: int, plain: bool, start: int, name: str) -> NetpbmHeader:
    if height <= 0 or width <= 0 or not 0 < most < 65536:
        raise ValueError("an image whose header is corrupt")
    return NetpbmHeader(height, width, channels, most, plain, start, name)


def decoded(data: bytes, known: NetpbmHeader) -> Pixels:
    """uint8 (H, W, C), or uint16 for samples of two bytes, scaled to the full range.

    Raises:
        ValueError: the file is truncated, or a sample is out of range.
    """
    count = known.height * known.width * known.channels
    samples = _plain(data, known, count) if known.plain else _binary(data, known, count)
    if len(samples) < count:
        raise ValueError("truncated or corrupt (it ends before the image does)")
    if int(samples.max()) > known.most:
        raise ValueError(f"samples above their largest value {known.most}")
    full = 255 if known.most < 256 else 65535
    if known.most != full:
        samples = (samples.astype(np.uint32) * full + known.most // 2) // known.most
    dtype = np.uint8 if full == 255 else np.uint16
    return samples.astype(dtype, copy=False).reshape(known.height, known.width, known.channels)


def _binary(data: bytes, known: NetpbmHeader, count: int) -> Pixels:
    dtype = np.dtype(np.uint8) if known.most < 256 else np.dtype(">u2")
    available = min(count, (len(data) - known.start) // dtype.itemsize)
    return np.frombuffer(data, dtype, available, known.start)


def _plain(data: bytes, known: NetpbmHeader, count: int) -> Pixels:
    text = data[known.start :]
    text = _COMMENT.sub(b"", text) if b"#" in text else text
    if re.search(rb"[^\d\s]", text):
        raise ValueError("truncated or corrupt (a sample is not a number)")
    if len(text) < 2 * count - 1:  # at least a digit and a space each
        return np.empty(0, np.uint32)
    samples = np.fromstring(text.decode("ascii"), np.int64, count, sep=" ")
    return np.minimum(samples, 65536).astype(np.uint32)


class NetpbmWriter:
    """Writes blocks (n, W, C) of uint8 or uint16 rows: PGM for grey, PPM for RGB, PAM with `as_pam`.

    A PPM file of one channel has it three times. Call `finish` after the last row.
    """

    def __init__(self, stream: BinaryIO, shape: tuple[int, int, int], dtype: np.dtype[Any], format: str) -> None:
        height, width, channels = shape
        self._stream, self._dtype = stream, dtype.newbyteorder(">")
        self._repeat = 3 if format == "ppm" and channels == 1 else 1
        most = np.iinfo(dtype).max
        if format == "pam":
            kind = {1: "GRAYSCALE", 2: "GRAYSCALE_ALPHA", 3: "RGB", 4: "RGB_ALPHA"}[channels]
            head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL {most}\nTUPLTYPE {kind}\nENDHDR\n"
        else:
            head = f"{'P5' if format == 'pgm' else 'P6'}\n{width} {height}\n{most}\n"
        stream.write(head.encode())

    def write(self, rows: Pixels) -> None:
        rows = np.repeat(rows, self._repeat, axis=2) if self._repeat > 1 else rows
        self._stream.write(np.ascontiguousarray(rows.astype(self._dtype, copy=False)).data)

    def finish(self) -> None:
        """The file is complete."""
