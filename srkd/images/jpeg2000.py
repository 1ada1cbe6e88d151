"""JPEG 2000: what Pillow leaves out, which is more than 8 bits of colour, the colour profile and XMP.

ITU-T T.800, A.5.1 (SIZ) and I.5.3.3 (colour specification box).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srkd.images import opencv, pillow

_SIZ, _COLOUR = b"\xff\x4f\xff\x51", b"colr"
_RESTRICTED_ICC = 2
_XMP_BOX = b"uuid" + bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # XMP Specification Part 3, 1.1.4


def decoded(data: bytes, image: Image.Image) -> tuple[NDArray[Any], str | None]:
    """(uint8 or uint16 (H, W, C), what was changed); `image` is the file as Pillow opened it."""
    at = data.find(_SIZ)
    depth = (data[at + 42] & 127) + 1 if 0 <= at < len(data) - 42 else 8
    if depth <= 8:
        return pillow.samples(image)
    pixels = opencv.decode(data)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if depth > 16 or pixels.dtype != np.uint16:
        raise ValueError(f"{depth}-bit samples; convert it to 8 or 16 bits")
    most = (1 << depth) - 1
    return ((np.minimum(pixels, most).astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16), None


def profile(data: bytes) -> bytes | None:
    """The colour profile, where the file has one instead of a colour space by number."""
    at = data.find(_COLOUR)
    if at < 4 or data[at + 4 : at + 5] != bytes([_RESTRICTED_ICC]):
        return None
    return data[at + 7 : at - 4 + int.from_bytes(data[at - 4 : at], "big")] or None


def xmp(data: bytes) -> bytes | None:
    """The XMP packet."""
    at = data.find(_XMP_BOX)
    if at < 4:
        return None
    return data[at + len(_XMP_BOX) : at - 4 + int.from_bytes(data[at - 4 : at], "big")] or None
