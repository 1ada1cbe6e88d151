"""PNG, TIFF and EXIF bytes written by hand, for what no library writes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

Entry = tuple[int, int, int, bytes]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    raw: bytes,
    *before: tuple[bytes, bytes],
    after: Sequence[tuple[bytes, bytes]] = (),
    interlaced: bool = False,
) -> bytes:
    """A PNG file of filtered rows `raw`, with chunks before and after its pixels."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    pixels = png_chunk(b"IDAT", zlib.compress(raw))
    others = [b"".join(png_chunk(*c) for c in chunks) for chunks in (before, after)]
    return b"\x89PNG\r\n\x1a\n" + head + others[0] + pixels + others[1] + png_chunk(b"IEND", b"")


def directory(entries: Sequence[Entry], at: int, next_at: int = 0) -> bytes:
    """(tag, type, count, little-endian bytes) as a TIFF directory that lies at `at`."""
    head, values, base = struct.pack("<H", len(entries)), b"", at + 2 + 12 * len(entries) + 4
    for tag, kind, count, raw in sorted(entries):
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", base + len(values))
        values += raw + bytes(len(raw) % 2) if len(raw) > 4 else b""
        head += struct.pack("<HHI", tag, kind, count) + place
    return head + struct.pack("<I", next_at) + values


def tiff_block(entries: Sequence[Entry]) -> bytes:
    return b"II*\0\x08\0\0\0" + directory(entries, 8)


def exif_block(orientation: int = 1, *more: Entry) -> bytes:
    return b"Exif\0\0" + tiff_block([(0x0112, 3, 1, struct.pack("<H", orientation)), *more])
