"""Animated WebP: decoded and composed by libwebp through Pillow, written frame by frame (RFC 9649, section 2.7).

Pillow's writer takes a list of all frames; here each is encoded as an image, whose chunks go into a frame's.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srkd.images import decoders
from srkd.images.frames import Timing, changed_box, whole_units
from srkd.images.metadata import Metadata

Pixels = NDArray[np.uint8]

_ANIMATED, _XMP, _EXIF, _ALPHA, _ICC = 2, 4, 8, 16, 32  # flags of VP8X
_NO_BLENDING = 2


@dataclass
class WebpFile:
    """An animated WebP file."""

    path: Path
    height: int
    width: int
    plays: int

    def metadata(self) -> tuple[int, Metadata, tuple[str, ...]]:
        with Image.open(self.path, formats=["WEBP"]) as image:
            return decoders.metadata_of(image)

    def frames(self) -> Iterator[tuple[Pixels, Fraction]]:
        with Image.open(self.path, formats=["WEBP"]) as image:
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                image.load()
                yield np.asarray(image.convert("RGBA")), Fraction(int(image.info.get("duration", 0)), 1000)


def open_file(path: Path) -> WebpFile:
    """The header of an animated file. Raises ValueError if it is corrupt."""
    plays = 1
    with path.open("rb") as file:
        head = file.read(30)
        for kind, length in _chunk_heads(file):
            if kind == b"ANIM" and length >= 6:
                plays = int.from_bytes(file.read(6)[4:], "little")
                break
    if len(head) < 30:
        raise ValueError("truncated or corrupt (its header)")
    width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (24, 27))
    return WebpFile(path, height, width, plays)


def count(path: Path) -> int:
    """The number of frames, from the headers of the chunks; 1 without animation."""
    with path.open("rb") as file:
        head = file.read(30)
        if head[12:16] != b"VP8X" or len(head) < 30 or not head[20] & _ANIMATED:
            return 1
        return sum(kind == b"ANMF" for kind, _ in _chunk_heads(file))


def _chunk_heads(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """(type, length) of each chunk of a file, whose content follows at the file's position."""
    at = 12
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        kind, length = struct.unpack("<4sI", head)
        yield kind, length
        at += 8 + length + length % 2


class WebpWriter:
    """Writes frames, uint8 (H, W, 3 or 4); each after the first only where it differs from the one before."""

    def __init__(
        self, stream: BinaryIO, shape: tuple[int, int, int], timing: Timing, quality: int, metadata: Metadata
    ) -> None:
        durations, plays = timing
        self._stream, self._quality, self._metadata, self._size = stream, quality, metadata, shape[:2]
        self._delays = iter(whole_units(durations, 1000, (1 << 24) - 1))
        self._shown: Pixels | None = None
        height, width = shape[:2]
        flags = _ANIMATED | (_ALPHA if shape[2] == 4 else 0)
        flags |= (_ICC if metadata.icc else 0) | (_EXIF if metadata.exif else 0) | (_XMP if metadata.xmp else 0)
        stream.write(b"RIFF" + bytes(4) + b"WEBP")
        stream.write(_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + _three(width - 1) + _three(height - 1)))
        if metadata.icc:
            stream.write(_chunk(b"ICCP", metadata.icc))
        stream.write(_chunk(b"ANIM", bytes(4) + struct.pack("<H", min(65535, plays))))

    def write(self, frame: Pixels) -> None:
        height, width = frame.shape[:2]
        whole = self._shown is None
        box = (0, 0, height, width) if whole else changed_box((frame != self._shown).any(-1), even=True)
        top, left, bottom, right = box
        image = _chunks_of_image(frame[top:bottom, left:right], self._quality)
        head = _three(left // 2) + _three(top // 2) + _three(right - left - 1) + _three(bottom - top - 1)
        self._stream.write(_chunk(b"ANMF", head + _three(next(self._delays)) + bytes([_NO_BLENDING]) + image))
        self._shown = frame

    def finish(self) -> None:
        exif, xmp = self._metadata.exif_for(*self._size), self._metadata.xmp_for(*self._size)
        for kind, data in ((b"EXIF", exif), (b"XMP ", xmp)):
            if data:
                self._stream.write(_chunk(kind, data))
        length = self._stream.tell() - 8
        if length >= 1 << 32:
            raise ValueError("the animation is too large for WebP; choose png")
        self._stream.seek(4)
        self._stream.write(struct.pack("<I", length))


def _chunks_of_image(pixels: Pixels, quality: int) -> bytes:
    stream = io.BytesIO()
    options: dict[str, Any] = {"quality": quality, "lossless": quality == 100, "exact": True}
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "WEBP", **options)
    data, at, kept = stream.getvalue(), 12, []
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        if kind in (b"ALPH", b"VP8 ", b"VP8L"):
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _three(value: int) -> bytes:
    return value.to_bytes(3, "little")
