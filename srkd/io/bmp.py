"""What Pillow leaves out of BMP files: alpha when writing, the colour profile when reading.

Microsoft, BITMAPV4HEADER and BITMAPV5HEADER.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_FILE_HEADER, _V4, _V5 = 14, 108, 124
_BIT_FIELDS, _MASKS = 3, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
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


def write_with_alpha(stream: BinaryIO, pixels: NDArray[Any], dpi: tuple[float, float] | None) -> None:
    """Write uint8 (H, W, 4) RGBA as 32 bits with masks for each channel, which say that there is alpha.

    Raises:
        ValueError: the file would pass 4 GiB.
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
