"""Binary PGM and PPM files of more than 8 bits, which Pillow cuts to 8."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GAP = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"P([56])" + (_GAP + rb"(\d{1,10})") * 3 + rb"\s")


def is_deep(data: bytes) -> bool:
    """Whether a file is binary PGM or PPM with samples of two bytes."""
    header = _HEADER.match(data[:1024])
    return header is not None and 255 < int(header[4]) < 65536


def decoded(data: bytes) -> NDArray[Any]:
    """uint16 (H, W, 1 or 3), scaled to the full range. Raises ValueError for a file that is cut or out of range."""
    header = _HEADER.match(data[:1024])
    assert header is not None
    width, height, most = (int(header[i]) for i in (2, 3, 4))
    count = width * height * (1 if header[1] == b"5" else 3)
    if not count or len(data) - header.end() < 2 * count:
        raise ValueError("truncated or corrupt (it ends before the image does)")
    pixels = np.frombuffer(data, ">u2", count, header.end()).reshape(height, width, -1)
    if int(pixels.max()) > most:
        raise ValueError(f"samples above their largest value {most}")
    if most == 65535:
        return pixels.astype(np.uint16)
    return ((pixels.astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16)
