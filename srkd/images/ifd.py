"""TIFF directories: tags with their values as the bytes in the file. EXIF blocks are TIFF files too.

TIFF Revision 6.0, Adobe 1992; BigTIFF by libtiff's specification of 2007.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, IFD = 1, 2, 3, 4, 5, 7, 13
# Bytes per value, and bytes per number (whose order depends on the file's byte order).
_SIZES = {
    **dict.fromkeys((1, 2, 6, 7), (1, 1)),
    **dict.fromkeys((3, 8), (2, 2)),
    **dict.fromkeys((4, 9, 11, 13), (4, 4)),
    **dict.fromkeys((5, 10), (8, 4)),
    **dict.fromkeys((12, 16, 17, 18), (8, 8)),
}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_MOST_TAGS = 4096
_SHARED = 64 * 2**10  # bytes that values may have in common


@dataclass(frozen=True)
class Tag:
    """One tag: type, number of values, their bytes in `order` ("<" or ">"); `at` is the offset of its entry."""

    kind: int
    count: int
    data: bytes
    order: str = "<"
    at: int = field(default=0, compare=False)

    def values(self) -> tuple[Any, ...]:
        """Numbers; rationals as floats, nan if the denominator is 0. Raises ValueError for text."""
        if self.kind in (5, 10):
            parts = struct.unpack(f"{self.order}{2 * self.count}{'Ii'[self.kind == 10]}", self.data)
            return tuple(a / b if b else float("nan") for a, b in zip(parts[::2], parts[1::2], strict=True))
        if self.kind not in _CODES:
            raise ValueError(f"a TIFF tag of type {self.kind} is not numeric")
        return struct.unpack(f"{self.order}{self.count}{_CODES[self.kind]}", self.data)

    def little(self) -> Tag:
        """The same tag with its bytes in little-endian order."""
        size = _SIZES[self.kind][1]
        if self.order == "<" or size == 1:
            return Tag(self.kind, self.count, self.data)
        return Tag(self.kind, self.count, np.frombuffer(self.data, f"u{size}").byteswap().tobytes())


@dataclass(frozen=True)
class Directory:
    """A directory's tags; `next_at` is the offset of the pointer to the next directory."""

    tags: dict[int, Tag]
    order: str
    big: bool
    next_at: int

    def number(self, tag: int, default: int = 0) -> int:
        """The first value of a tag as an integer, or `default`."""
        found = self.tags.get(tag)
        try:
            return int(found.values()[0]) if found else default
        except (ValueError, IndexError, OverflowError):
            return default


def first_directory(block: bytes) -> Directory:
    """The first directory of a TIFF file or block. Raises ValueError if there is none."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None or len(block) < 8:
        raise ValueError("no TIFF header")
    (version,) = struct.unpack_from(order + "H", block, 2)
    if version not in (42, 43) or len(block) < 16 * (version == 43):
        raise ValueError("no TIFF header")
    (at,) = struct.unpack_from(order + ("Q" if version == 43 else "I"), block, 8 if version == 43 else 4)
    return read_directory(block, at, order, version == 43)


def read_directory(block: bytes, at: int, order: str, big: bool = False) -> Directory:
    """The directory at offset `at`, without tags of unknown type or with values outside the block.

    Raises:
        ValueError: it is not inside the block, or its values together are far longer than the block.
    """
    count_code, size, value_at, offset_code = ("Q", 20, 12, "Q") if big else ("H", 12, 8, "I")
    inline = struct.calcsize(offset_code)
    start = at + struct.calcsize(count_code)
    if at < 0 or start > len(block):  # a pointer may be stored as a signed number
        raise ValueError("a TIFF directory lies outside the file")
    (count,) = struct.unpack_from(order + count_code, block, at)
    end = start + size * count
    if count > _MOST_TAGS or end > len(block):
        raise ValueError("a TIFF directory is truncated")
    tags: dict[int, Tag] = {}
    allowed = len(block) + _SHARED
    for entry in range(start, end, size):
        number, kind, values = struct.unpack_from(order + "HH" + offset_code, block, entry)
        length = values * _SIZES.get(kind, (0, 0))[0]
        place = entry + value_at
        if length > inline:
            (place,) = struct.unpack_from(order + offset_code, block, place)
        if length and place + length <= len(block) and number not in tags:
            allowed -= length
            if allowed < 0:  # thousands of tags that share the same bytes
                raise ValueError("the values of a TIFF directory are longer than the file")
            tags[number] = Tag(kind, values, bytes(block[place : place + length]), order, entry)
    return Directory(tags, order, big, end)


def build(tags: Mapping[int, Tag], at: int) -> bytes:
    """A little-endian directory at offset `at`: twelve bytes per tag, then the values longer than four bytes."""
    entries, rest = [], []
    values_at = at + 2 + 12 * len(tags) + 4
    for number, tag in sorted(tags.items()):
        data = tag.little().data
        if len(data) > 4:
            place = struct.pack("<I", values_at)
            rest += [data, bytes(len(data) % 2)]
            values_at += len(data) + len(data) % 2
        else:
            place = data.ljust(4, b"\0")
        entries.append(struct.pack("<HHI", number, tag.kind, tag.count) + place)
    return b"".join([struct.pack("<H", len(tags)), *entries, bytes(4), *rest])


def numbers(kind: int, *values: float) -> Tag:
    """A tag of numbers: SHORT, LONG or double (12)."""
    return Tag(kind, len(values), struct.pack(f"<{len(values)}{_CODES[kind]}", *values))
