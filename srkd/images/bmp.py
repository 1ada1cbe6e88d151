"""BMP features that Pillow lacks: alpha when writing, masks and the colour profile when reading.

Microsoft, BITMAPV4HEADER and BITMAPV5HEADER.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_FILE_HEADER, _V1, _V4, _V5 = 14, 40, 108, 124
_BIT_FIELDS, _WITH_ALPHA, _MASKS = 3, 6, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
_EMBEDDED = b"DEBM"
_INCHES_PER_METRE = 1 / 0.0254


def profile(data: bytes) -> bytes | None:
    """The colour profile embedded in a BMP file."""
    header = data[_FILE_HEADER : _FILE_HEADER + _V5]
    if len(header) < _V5 or header[:4] != _V5.to_bytes(4, "little") or header[56:60] != _EMBEDDED:
        return None
    at, length = struct.unpack_from("<II", header, 112)
    found = data[_FILE_HEADER + at : _FILE_HEADER + at + length]
    return found if at and 0 < len(found) == length else None


def has_bit_fields(data: bytes) -> bool:
    """Whether a file has pixels of 16 or 32 bits with channels defined by masks."""
    if data[:2] != b"BM" or len(data) <= 54 or data[14] < _V1:  # OS/2's shorter header is followed by the pixels
        return False
    return data[28] in (16, 32) and data[30] in (_BIT_FIELDS, _WITH_ALPHA)


def size(data: bytes) -> tuple[int, int]:
    """(height, width)."""
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(height), width


def dots_per_metre(data: bytes) -> tuple[int, int]:
    """(horizontal, vertical)."""
    across, down = struct.unpack_from("<ii", data, 38)
    return across, down


def decoded(data: bytes) -> NDArray[Any]:
    """uint8 (H, W, 3 or 4) of a file with `has_bit_fields`. Raises ValueError if it is truncated."""
    start, header, width, height, _, bits = struct.unpack_from("<IIiiHH", data, 10)
    masks = struct.unpack_from("<4I", data, 54)
    channels = 4 if (header >= 56 or data[30] == _WITH_ALPHA) and masks[3] else 3
    row = (width * bits + 31) // 32 * 4
    if width <= 0 or not height or len(data) < start + row * abs(height):
        raise ValueError("truncated or corrupt (it ends before the image does)")
    stored = np.frombuffer(data, np.uint8, row * abs(height), start).reshape(abs(height), row)
    pixels = stored[:, : width * bits // 8].copy().view(f"<u{bits // 8}")[:: -1 if height > 0 else 1]
    return np.stack([_channel(pixels, mask) for mask in masks[:channels]], axis=-1)


def _channel(pixels: NDArray[Any], mask: int) -> NDArray[np.uint8]:
    """The bits of a mask scaled to 8; an empty mask is black."""
    if not mask:
        return np.zeros(pixels.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    return (((pixels & mask) >> shift).astype(np.float64) * (255 / most) + 0.5).astype(np.uint8)


def write_with_alpha(stream: BinaryIO, pixels: NDArray[Any], dpi: tuple[float, float] | None) -> None:
    """Write uint8 (H, W, 4) RGBA as 32 bits with a mask per channel, which declares the alpha channel.

    Raises:
        ValueError: the file would exceed 4 GiB.
    """
    height, width, _ = pixels.shape
    start, size = _FILE_HEADER + _V4, 4 * height * width
    if start + size > 2**32 - 1:
        raise ValueError("File size is too large for the BMP format")
    across, down = (round(d * _INCHES_PER_METRE) for d in dpi or (96, 96))
    stream.write(b"BM" + struct.pack("<IHHI", start + size, 0, 0, start))
    stream.write(struct.pack("<IiiHHIIiiII", _V4, width, height, 1, 32, _BIT_FIELDS, size, across, down, 0, 0))
    stream.write(struct.pack("<4I", *_MASKS) + b"BGRs" + bytes(48))
    for row in pixels[::-1]:
        stream.write(np.ascontiguousarray(row[:, [2, 1, 0, 3]]).data)
