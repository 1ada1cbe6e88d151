"""Photoshop's image resources, which contain IPTC in JPEG and TIFF files.

Adobe Photoshop File Formats Specification (2019), "Image Resource Blocks".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_SIGNATURE = b"8BIM"
_IPTC, _THUMBNAILS = 0x0404, (0x0409, 0x040C)


def build_resources(iptc: bytes) -> bytes:
    """Image resources that contain only these IPTC records."""
    return _SIGNATURE + struct.pack(">HHI", _IPTC, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)


def iptc(resources: bytes) -> bytes | None:
    """The IPTC records in image resources."""
    return next((block[-1] for block in _blocks(resources) if block[0] == _IPTC), None)


def without_thumbnails(resources: bytes) -> bytes:
    """The resources without thumbnails, up to the first corrupt one."""
    return b"".join(whole for kind, whole, _ in _blocks(resources) if kind not in _THUMBNAILS)


def _blocks(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(kind, the whole block, its content) of each resource, up to the first corrupt one."""
    at = 0
    while data[at : at + 4] == _SIGNATURE and at + 12 <= len(data):
        kind, name_length = struct.unpack_from(">HB", data, at + 4)
        start = at + 6 + (name_length + 2) // 2 * 2
        if start + 4 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, start)
        end = start + 4 + length + length % 2
        if start + 4 + length > len(data):
            return
        yield kind, data[at:end].ljust(end - at, b"\0"), data[start + 4 : start + 4 + length]
        at = end
