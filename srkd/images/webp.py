"""Whether a WebP file is lossless, which Pillow does not say."""

from __future__ import annotations

import struct


def is_lossless(data: bytes) -> bool:
    """Whether the image of a WebP file is in the lossless coding. RFC 9649, section 2.7."""
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind in (b"VP8L", b"VP8 "):
            return bool(kind == b"VP8L")
        at += 8 + length + length % 2
    return False
