"""How many further images a JPEG file has by its index of images.

CIPA DC-007 (Multi-Image Format), 5.2.3.3: views of stereo cameras, frames of panoramas, gain maps; and previews.
"""

from __future__ import annotations

import struct

from srkd.images import ifd

PREFIX = b"MPF\0"
_ENTRIES, _ENTRY_BYTES = 0xB002, 16
_KIND, _PREVIEWS = 0xFFFFFF, (0x010001, 0x010002)


def further_images(content: bytes) -> int:
    """Images beside the first, without previews of it, that an APP2 segment's index announces."""
    try:
        first = ifd.first_directory(content.removeprefix(PREFIX))
    except ValueError:
        return 0
    entries = first.tags.get(_ENTRIES)
    data = entries.data if entries else b""
    starts = range(_ENTRY_BYTES, len(data) - _ENTRY_BYTES + 1, _ENTRY_BYTES)
    return sum(struct.unpack_from(first.order + "I", data, at)[0] & _KIND not in _PREVIEWS for at in starts)
