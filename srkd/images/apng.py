"""Animated PNG: frames parsed, composed and written one at a time (PNG Specification (Third Edition), W3C 2025)."""

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

from srkd.images import png
from srkd.images.frames import Timing, changed_box
from srkd.images.metadata import Metadata

Pixels = NDArray[np.uint8]

_TO_BACKGROUND, _TO_PREVIOUS = 1, 2
_OVER = 1
_TRUNCATED = "truncated or corrupt (it ends before the animation does)"


@dataclass(frozen=True)
class _Control:
    """A chunk fcTL: box, seconds, and how the frame is disposed of and blended."""

    width: int
    height: int
    left: int
    top: int
    seconds: Fraction
    dispose: int
    blend: int

    @classmethod
    def of(cls, data: bytes) -> _Control:
        if len(data) != 26:
            raise ValueError("truncated or corrupt (its fcTL chunk)")
        _, width, height, left, top, delay, unit, dispose, blend = struct.unpack(">IIIIIHHBB", data)
        return cls(width, height, left, top, Fraction(delay, unit or 100), dispose, blend)


@dataclass
class ApngFile:
    """An animated PNG file."""

    path: Path
    height: int
    width: int
    plays: int
    count: int

    def metadata(self) -> tuple[int, Metadata, tuple[str, ...]]:
        with self.path.open("rb") as file:
            parsed = png.parse(file, headers_only=True, animated=True)
        orientation, metadata, notes = png.metadata_of(parsed)
        return orientation, metadata, notes + (("16 bits rounded to 8",) if parsed.depth == 16 else ())

    def frames(self) -> Iterator[tuple[Pixels, Fraction]]:
        canvas = np.zeros((self.height, self.width, 4), np.uint8)
        for number, (control, file) in enumerate(self._files()):
            bottom, right = control.top + control.height, control.left + control.width
            if bottom > self.height or right > self.width:  # before it is decoded: it may be any size
                raise ValueError(f"truncated or corrupt (frame {number + 1} is outside of the image)")
            pixels = _rgba(png.decoded(png.parse(io.BytesIO(file))))
            region = canvas[control.top : bottom, control.left : right]
            before = region.copy() if control.dispose == _TO_PREVIOUS and number else None
            region[:] = _over(pixels, region) if control.blend == _OVER else pixels
            yield canvas.copy(), control.seconds
            if before is not None:
                region[:] = before
            elif control.dispose in (_TO_BACKGROUND, _TO_PREVIOUS):
                region[:] = 0

    def _files(self) -> Iterator[tuple[_Control, bytes]]:
        """(control, a PNG file) of each frame."""
        shared: dict[bytes, bytes] = {}
        control: _Control | None = None
        parts: list[bytes] = []
        done = 0
        with self.path.open("rb") as stream:
            stream.seek(len(png.SIGNATURE))
            for kind, data, good in png.chunks(stream):
                if not good and kind in (b"IHDR", b"PLTE", b"tRNS", b"fcTL", b"IDAT", b"fdAT"):
                    raise ValueError(f"truncated or corrupt (its {kind.decode('latin-1')} chunk)")
                if kind in (b"IHDR", b"PLTE", b"tRNS"):
                    shared[kind] = data
                elif kind in (b"fcTL", b"IEND"):
                    if control is not None and parts:
                        yield control, _file(shared, control, parts)
                        done += 1
                    control, parts = _Control.of(data) if kind == b"fcTL" else None, []
                elif kind == b"IDAT" and control is not None:  # else an image that is not of the animation
                    parts.append(data)
                elif kind == b"fdAT":
                    parts.append(data[4:])
                if kind == b"IEND":
                    break
        if done < self.count:
            raise ValueError(f"{_TRUNCATED}: {done} of {self.count} frames")


def open_file(path: Path) -> ApngFile:
    """The header of a file. Raises ValueError if it is corrupt."""
    with path.open("rb") as file:
        parsed = png.parse(file, headers_only=True, animated=True)
    control = parsed.content(b"acTL") or bytes(8)
    frames, plays = struct.unpack(">II", control[:8].ljust(8, b"\0"))
    return ApngFile(path, parsed.height, parsed.width, plays, frames)


def count(path: Path) -> int:
    """The number of frames that a file declares; 1 without animation."""
    with path.open("rb") as file:
        file.seek(len(png.SIGNATURE))
        for kind, data, good in png.chunks(file, (b"IDAT",)):
            if kind == b"acTL" and good:
                return int.from_bytes(data[:4], "big")
            if kind == b"IDAT":
                break
    return 1


def _file(shared: dict[bytes, bytes], control: _Control, parts: list[bytes]) -> bytes:
    head = struct.pack(">II", control.width, control.height) + shared.get(b"IHDR", b"")[8:]
    chunks = [(b"IHDR", head), *((kind, data) for kind, data in shared.items() if kind != b"IHDR")]
    chunks += [(b"IDAT", part) for part in parts] + [(b"IEND", b"")]
    return png.SIGNATURE + b"".join(png.chunk(*each) for each in chunks)


def _rgba(pixels: NDArray[Any]) -> Pixels:
    """uint8 RGBA of pixels as `png.decoded` returns them."""
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    channels = pixels.shape[2]
    alpha = pixels[..., -1:] if channels in (2, 4) else np.full((*pixels.shape[:2], 1), 255, np.uint8)
    colour = pixels[..., : 1 if channels < 3 else 3]
    return np.concatenate([np.broadcast_to(colour, (*pixels.shape[:2], 3)), alpha], axis=2)


def _over(source: Pixels, below: Pixels) -> Pixels:
    """Source over below, both with alpha that is not premultiplied, rounded."""
    above, under = source[..., 3:].astype(np.float32) / 255, below[..., 3:].astype(np.float32) / 255
    under = under * (1 - above)
    total = above + under
    colour = (source[..., :3] * above + below[..., :3] * under) / np.maximum(total, 1e-9)
    result: Pixels = np.rint(np.concatenate([colour, total * 255], axis=2)).astype(np.uint8)
    return result


class ApngWriter:
    """Writes frames, uint8 (H, W, 3 or 4); each after the first only where it differs from the one before."""

    def __init__(self, stream: BinaryIO, shape: tuple[int, int, int], timing: Timing, metadata: Metadata) -> None:
        self._stream, self._durations, plays = stream, iter(timing[0]), timing[1]
        self._shown: Pixels | None = None
        self._sequence = 0
        head = struct.pack(">IIBBBBB", shape[1], shape[0], 8, png.COLOUR_TYPE[shape[2]], 0, 0, 0)
        stream.write(png.SIGNATURE + png.chunk(b"IHDR", head) + png.ancillary(metadata, *shape[:2]))
        stream.write(png.chunk(b"acTL", struct.pack(">II", len(timing[0]), plays)))

    def write(self, frame: Pixels) -> None:
        height, width = frame.shape[:2]
        box = (0, 0, height, width) if self._shown is None else changed_box((frame != self._shown).any(-1))
        top, left, bottom, right = box
        control = struct.pack(">IIII", right - left, bottom - top, left, top) + _delay(next(self._durations))
        self._stream.write(png.chunk(b"fcTL", self._number() + control + b"\0\0"))
        encoder = png.RowEncoder(right - left, frame.shape[2], np.dtype(np.uint8))
        for data in (*encoder.encoded(frame[top:bottom, left:right]), encoder.flush()):
            if data and self._shown is None:
                self._stream.write(png.chunk(b"IDAT", data))
            elif data:
                self._stream.write(png.chunk(b"fdAT", self._number() + data))
        self._shown = frame

    def finish(self) -> None:
        self._stream.write(png.chunk(b"IEND", b""))

    def _number(self) -> bytes:
        self._sequence += 1
        return struct.pack(">I", self._sequence - 1)


def _delay(seconds: Fraction) -> bytes:
    """A duration as numerator and denominator of 16 bits: exactly, or to the finest of the usual units that fits."""
    exact = seconds.limit_denominator(65535)
    if exact.numerator <= 65535:
        return struct.pack(">HH", exact.numerator, exact.denominator)
    unit = next((unit for unit in (1000, 100, 10) if seconds * unit <= 65535), 1)
    return struct.pack(">HH", min(65535, round(seconds * unit)), unit)
