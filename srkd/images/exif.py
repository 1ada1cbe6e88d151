"""EXIF blocks: copied byte for byte, except values that are wrong after turning or resizing the image.

CIPA DC-008 (Exif 3.0). A block is as in JPEG, starting with b"Exif\\0\\0".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from srkd.images import ifd
from srkd.images.ifd import Directory, Tag

PREFIX = b"Exif\0\0"
ORIENTATION, EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x0112, 0x8769, 0x8825, 0xA005
_WIDTH_TAGS, _HEIGHT_TAGS = (0x0100, 0xA002), (0x0101, 0xA003)
_THUMBNAIL_AT, _THUMBNAIL_LENGTH = 0x0201, 0x0202


def orientation(block: bytes) -> int:
    """1 to 8, by default 1. Raises ValueError if it is not an EXIF block."""
    value = ifd.first_directory(_body(block)).number(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def upright(block: bytes) -> bytes:
    """The block for the image turned upright; if that turns it, the thumbnail is removed."""
    body = bytearray(_body(block))
    first = ifd.first_directory(bytes(body))
    if orientation(block) == 1:
        return PREFIX + bytes(body)
    _patch(body, first, ORIENTATION, 1)
    return PREFIX + _without_thumbnail(body, first)


def sized(block: bytes, height: int, width: int) -> bytes:
    """The block with the pixel sizes that it contains set to (height, width)."""
    body = bytearray(_body(block))
    first = ifd.first_directory(bytes(body))
    for directory in (first, _below(bytes(body), first, EXIF_IFD)):
        for tags, value in ((_WIDTH_TAGS, width), (_HEIGHT_TAGS, height)):
            for tag in tags:
                _patch(body, directory, tag, value)
    return PREFIX + bytes(body)


def directories(block: bytes) -> tuple[dict[int, Tag], dict[int, dict[int, Tag]]]:
    """(tags of the first directory without pointers, those of the EXIF and GPS directories by their pointer's tag)."""
    body = _body(block)
    first = ifd.first_directory(body)
    return below_first(body, first)


def below_first(data: bytes, first: Directory) -> tuple[dict[int, Tag], dict[int, dict[int, Tag]]]:
    """As `directories`, for a TIFF file with the first directory `first`."""
    subs = {tag: dict(found.tags) for tag in (EXIF_IFD, GPS_IFD) if (found := _below(data, first, tag)) is not None}
    for tags in subs.values():
        tags.pop(INTEROP_IFD, None)  # points into the file that was read
    own = {tag: value for tag, value in first.tags.items() if tag not in (EXIF_IFD, GPS_IFD, INTEROP_IFD)}
    return own, {tag: tags for tag, tags in subs.items() if tags}


def build_block(own: Mapping[int, Tag], subs: Mapping[int, Mapping[int, Tag]]) -> bytes | None:
    """A block of these tags; None if there are none."""
    if not own and not subs:
        return None
    body, pointers = b"II*\0" + bytes(4), {}
    for tag, tags in subs.items():
        pointers[tag] = ifd.numbers(ifd.LONG, len(body))
        body += ifd.build(tags, len(body))
    head = struct.pack("<I", len(body))
    return PREFIX + body[:4] + head + body[8:] + ifd.build({**own, **pointers}, len(body))


def _body(block: bytes) -> bytes:
    return block.removeprefix(PREFIX)


def _below(data: bytes, first: Directory, pointer: int) -> Directory | None:
    at = first.number(pointer)
    try:
        return ifd.read_directory(data, at, first.order, first.big) if at else None
    except ValueError:
        return None


def _patch(body: bytearray, directory: Directory | None, tag: int, value: int) -> None:
    """Replace a number of any type in place: as SHORT, or as LONG if it was one or needs to be; both fit an entry."""
    found = directory.tags.get(tag) if directory else None
    if directory is None or found is None or found.kind in (ifd.ASCII, ifd.UNDEFINED):
        return
    kind, code = (ifd.SHORT, "H") if value < 65536 and found.kind != ifd.LONG else (ifd.LONG, "I")
    entry = struct.pack(f"{directory.order}HHI{code}", tag, kind, 1, value)
    body[found.at : found.at + 12] = entry.ljust(12, b"\0")


def _without_thumbnail(body: bytearray, first: Directory) -> bytes:
    """Unlink the second directory; cut off the thumbnail if it is at the end of the block, as usual."""
    (at,) = struct.unpack_from(first.order + "I", body, first.next_at) if first.next_at + 4 <= len(body) else (0,)
    if not at:
        return bytes(body)
    body[first.next_at : first.next_at + 4] = bytes(4)
    try:
        thumbnail = ifd.read_directory(bytes(body), at, first.order)
    except ValueError:
        return bytes(body)
    start, length = thumbnail.number(_THUMBNAIL_AT), thumbnail.number(_THUMBNAIL_LENGTH)
    return bytes(body[:start]) if at < start and start + length >= len(body) - 1 else bytes(body)
