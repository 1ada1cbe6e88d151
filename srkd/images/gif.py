"""Animated GIF: its blocks parsed and composed here, LZW decoded and encoded by Pillow (GIF89a Specification).

Pillow composes frames with the background colour, where browsers show transparency, and keeps all frames while writing.
Loops are as browsers count them: a loop count of n plays n + 1 times, none once.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image

from srkd.images.frames import Timing, changed_box, whole_units
from srkd.images.metadata import Metadata

Pixels = NDArray[np.uint8]

_TRUNCATED = "truncated or corrupt (it ends before the animation does)"
_MOST_PIXELS = 32_000_000  # of a frame
_ANY_PALETTE = b"\1\2\3\4\5\6"  # of files that are decoded to indices
_KEEP, _TO_BACKGROUND, _TO_PREVIOUS = 1, 2, 3
_COLOURS, _TRANSPARENT = 256, 255
_OPAQUE_FROM = 128
_SAMPLES = 1 << 16  # pixels from which a palette is chosen


@dataclass(frozen=True)
class _Frame:
    """One image: its box, `flags`, `palette`, and `data`, its LZW code size and blocks."""

    box: tuple[int, int, int, int]  # left, top, width, height
    flags: int
    palette: bytes
    data: bytes
    transparent: int | None
    disposal: int
    centiseconds: int


@dataclass
class GifFile:
    """A GIF file; `plays` and `comment` are known after the first frame."""

    path: Path
    height: int
    width: int
    plays: int = 1
    comment: bytes | None = None
    _palette: bytes = field(default=b"", repr=False)
    _start: int = 0

    def metadata(self) -> tuple[int, Metadata, tuple[str, ...]]:
        return 1, Metadata(comment=self.comment), ()

    def frames(self) -> Iterator[tuple[Pixels, Fraction]]:
        canvas = np.zeros((self.height, self.width, 4), np.uint8)
        for frame in self.blocks():
            left, top, _, _ = frame.box
            indices = _indices(frame)[: max(0, self.height - top), : max(0, self.width - left)]
            region = canvas[top : top + indices.shape[0], left : left + indices.shape[1]]
            before = region.copy() if frame.disposal == _TO_PREVIOUS else None
            drawn = np.ones(indices.shape, bool) if frame.transparent is None else indices != frame.transparent
            region[drawn] = _table(frame.palette)[indices][drawn]
            yield canvas.copy(), Fraction(frame.centiseconds, 100)
            if frame.disposal == _TO_BACKGROUND:
                region[:] = 0
            elif before is not None:
                region[:] = before

    def blocks(self) -> Iterator[_Frame]:
        """The images of the file, in order, not decoded."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            transparent, disposal, delay = None, 0, 0
            while (kind := file.read(1)) != b";":
                if kind == b"!":
                    label, blocks = file.read(1), _sub_blocks(file)
                    content = _joined(blocks)
                    if label == b"\xf9" and len(content) >= 4:
                        flags, delay, index = struct.unpack_from("<BHB", content)
                        transparent, disposal = index if flags & 1 else None, flags >> 2 & 7
                    elif label == b"\xff" and content.startswith((b"NETSCAPE2.0\1", b"ANIMEXTS1.0\1")):
                        count = int.from_bytes(content[12:14], "little")
                        self.plays = count + 1 if count else 0
                    elif label == b"\xfe":
                        self.comment = self.comment or content or None
                elif kind == b",":
                    yield _frame(file, self._palette, transparent, disposal, delay)
                    transparent, disposal, delay = None, 0, 0
                elif kind != b"\0":
                    raise ValueError(_TRUNCATED)


def open_file(path: Path) -> GifFile:
    """The header of a file. Raises ValueError if it is truncated."""
    with path.open("rb") as file:
        head = file.read(13)
        if len(head) < 13:
            raise ValueError(_TRUNCATED)
        width, height, flags = struct.unpack_from("<HHB", head, 6)
        palette = file.read(3 << (flags & 7) + 1) if flags & 0x80 else b""
        return GifFile(path, height, width, _palette=palette, _start=file.tell())


def count(path: Path) -> int:
    """1 or 2: whether there is a second image."""
    found = 0
    try:
        for _ in open_file(path).blocks():
            found += 1
            if found == 2:
                break
    except ValueError:
        pass
    return found


def _sub_blocks(file: BinaryIO) -> bytes:
    """Sub-blocks with their lengths, and the final 0. Raises ValueError if they are truncated."""
    parts = []
    while length := file.read(1):
        parts.append(length)
        if length == b"\0":
            return b"".join(parts)
        content = file.read(length[0])
        if len(content) < length[0]:
            break
        parts.append(content)
    raise ValueError(_TRUNCATED)


def _joined(blocks: bytes) -> bytes:
    parts, at = [], 0
    while blocks[at]:
        parts.append(blocks[at + 1 : at + 1 + blocks[at]])
        at += 1 + blocks[at]
    return b"".join(parts)


def _frame(file: BinaryIO, palette: bytes, transparent: int | None, disposal: int, delay: int) -> _Frame:
    head = file.read(9)
    if len(head) < 9:
        raise ValueError(_TRUNCATED)
    left, top, width, height, flags = struct.unpack("<HHHHB", head)
    if flags & 0x80:
        palette = file.read(3 << (flags & 7) + 1)
    if not 0 < width * height <= _MOST_PIXELS:
        raise ValueError(f"truncated or corrupt (a frame of {width}x{height} pixels)")
    data = file.read(1) + _sub_blocks(file)
    return _Frame((left, top, width, height), flags, palette, data, transparent, disposal, delay)


def _indices(frame: _Frame) -> Pixels:
    """The palette indices of a frame (h, w), by Pillow, from a file of this frame only."""
    _, _, width, height = frame.box
    size = struct.pack("<HH", width, height)
    head = b"GIF89a" + size + b"\x80\0\0" + _ANY_PALETTE
    file = head + b",\0\0\0\0" + size + bytes([frame.flags & 0x40]) + frame.data + b";"
    with Image.open(io.BytesIO(file), formats=["GIF"]) as image:
        image.load()
        return np.asarray(image)


def _table(palette: bytes) -> Pixels:
    """A palette as RGBA (256, 4); without one, a grey ramp."""
    table = np.full((_COLOURS, 4), 255, np.uint8)
    colours = np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3)
    table[:, :3] = 0 if len(colours) else np.arange(_COLOURS, dtype=np.uint8)[:, None]
    table[: len(colours), :3] = colours
    return table


class GifWriter:
    """Writes frames, uint8 (H, W, 3 or 4), each with a palette of its own, for what changed since the one before.

    Unchanged pixels are not encoded again, so they do not flicker. Alpha from 128 on is opaque. One frame is kept back:
    whether it is to be cleared depends on the next.
    """

    def __init__(self, stream: BinaryIO, shape: tuple[int, int, int], timing: Timing, metadata: Metadata) -> None:
        durations, plays = timing
        self._stream, self._size = stream, shape[:2]
        self._delays = iter(whole_units(durations, 100, 65535))
        self._shown = np.zeros((*shape[:2], 4), np.uint8)
        self._waiting: Pixels | None = None
        self._is_first = True
        stream.write(b"GIF89a" + struct.pack("<HH", shape[1], shape[0]) + b"\0\0\0")
        if plays != 1:
            stream.write(b"!\xff\x0bNETSCAPE2.0\x03\1" + struct.pack("<H", min(65535, max(0, plays - 1))) + b"\0")
        if metadata.comment:
            parts = [metadata.comment[at : at + 255] for at in range(0, len(metadata.comment), 255)]
            stream.write(b"!\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0")

    def write(self, frame: Pixels) -> None:
        opaque = frame[..., 3] >= _OPAQUE_FROM if frame.shape[2] == 4 else np.ones(self._size, bool)
        upcoming = np.dstack([frame[..., :3], np.where(opaque, 255, 0).astype(np.uint8)])
        upcoming[~opaque] = 0
        if self._waiting is not None:
            self._emit(self._waiting, clear=bool((self._waiting[..., 3] > upcoming[..., 3]).any()))
        self._waiting = upcoming

    def finish(self) -> None:
        if self._waiting is not None:
            self._emit(self._waiting, clear=False)
        self._stream.write(b";")

    def _emit(self, frame: Pixels, clear: bool) -> None:
        """Write a frame; with `clear` the canvas is empty after it, for which the frame must cover it."""
        drawn = (frame != self._shown).any(-1) & (frame[..., 3] > 0)
        height, width = self._size
        whole = clear or self._is_first
        top, left, bottom, right = (0, 0, height, width) if whole else changed_box(drawn)
        part, mask = frame[top:bottom, left:right, :3], drawn[top:bottom, left:right]
        indices, palette = quantised(part, mask)
        image = Image.frombytes("P", (right - left, bottom - top), indices.tobytes())
        image.putpalette(palette)
        known: dict[str, Any] = {"duration": 10 * next(self._delays), "disposal": _TO_BACKGROUND if clear else _KEEP}
        known |= {} if mask.all() else {"transparency": _TRANSPARENT}
        blocks = GifImagePlugin.getdata(image, (left, top), include_color_table=True, **known)
        self._stream.write(b"".join(blocks))
        self._shown = np.zeros_like(frame) if clear else frame
        self._is_first = False


def quantised(rgb: Pixels, mask: NDArray[np.bool_]) -> tuple[Pixels, bytes]:
    """(indices (H, W), palette of 256 colours) of RGB (H, W, 3); where the mask is not set the index is 255.

    Up to 256 colours (255 with a mask) are exact. More are reduced by median cut with k-means, and dithered by
    Floyd-Steinberg's error diffusion.
    """
    most = _COLOURS if mask.all() else _COLOURS - 1
    selected = rgb[mask]
    packed = selected.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours = np.unique(packed)
    indices = np.full(mask.shape, _TRANSPARENT, np.uint8)
    if len(colours) <= most:
        indices[mask] = np.searchsorted(colours, packed).astype(np.uint8)
        table = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1).astype(np.uint8)
        return indices, table.tobytes().ljust(3 * _COLOURS, b"\0")
    sample = selected[:: -(-len(selected) // _SAMPLES)]
    chosen = Image.fromarray(np.ascontiguousarray(sample[None])).quantize(most, Image.Quantize.MEDIANCUT, kmeans=2)
    dithered = Image.fromarray(np.ascontiguousarray(rgb)).quantize(palette=chosen, dither=Image.Dither.FLOYDSTEINBERG)
    indices[mask] = np.asarray(dithered)[mask]
    return indices, bytes(dithered.getpalette() or [])[: 3 * _COLOURS].ljust(3 * _COLOURS, b"\0")
