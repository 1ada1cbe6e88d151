"""Animations: GIF, APNG and animated WebP, read and written frame by frame: memory does not grow with their number.

Frames are composed as a browser shows them: disposal and blending are applied, so that each is a whole image. The
number of plays is that of the whole animation, 0 for an endless one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from srkd.files.atomic import atomic_path
from srkd.images import apng, decoders, gif, png, webp
from srkd.images.formats import FORMATS, check_holds
from srkd.images.metadata import Metadata
from srkd.images.read import MAX_BYTES, check_kind, decoding, srkd_errors, upright
from srkd.images.write import DEFAULT_QUALITY

Pixels = NDArray[np.uint8]

MAX_FRAME_PIXELS = 32_000_000
MAX_TOTAL_PIXELS = 10_000_000_000  # of all frames together


class Source(Protocol):
    """An animation file. `frames` yields (uint8 RGBA (H, W, 4), seconds) in order, as often as it is called."""

    height: int
    width: int
    plays: int

    def frames(self) -> Iterator[tuple[Pixels, Fraction]]: ...

    def metadata(self) -> tuple[int, Metadata, tuple[str, ...]]: ...


# Modules with `count`, the number of frames as far as the file states it, and `open_file`.
_READERS: dict[str, Any] = {"gif": gif, "png": apng, "webp": webp}


@dataclass(frozen=True)
class Animation:
    """An animation that was decoded once to the end, and so is intact.

    `durations` are in seconds; `channels` is 3, or 4 if a pixel of a frame is not opaque; `lossless` as of `ImageData`.
    """

    path: Path
    format: str
    height: int
    width: int
    channels: int
    durations: tuple[Fraction, ...]
    plays: int
    metadata: Metadata
    notes: tuple[str, ...] = ()
    lossless: bool = False
    orientation: int = 1

    def frames(self) -> Iterator[Pixels]:
        """The frames as uint8 (H, W, 3 or 4), upright. Raises SrkdError if the file has changed and is now damaged."""
        with srkd_errors(self.path), decoding():
            for pixels, _ in _READERS[self.format].open_file(self.path).frames():
                yield np.ascontiguousarray(upright(pixels, self.orientation)[..., : self.channels])


def is_animation(path: Path | str) -> bool:
    """Whether a file is GIF, PNG or WebP of several frames; False if it cannot be read."""
    try:
        return _format_of(Path(path)) is not None
    except Exception:
        return False


def open_animation(path: Path | str) -> Animation | None:
    """An animation, or None for a single image or another file; all frames are decoded once, one at a time.

    Raises:
        SrkdError: it is damaged, or has more than `MAX_FRAME_PIXELS` or, in all frames, `MAX_TOTAL_PIXELS`.
    """
    path = Path(path)
    try:
        format = _format_of(path)
    except Exception:
        return None  # read_image states what is wrong
    if format is None:
        return None
    with srkd_errors(path), decoding():
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes, more than the limit of {MAX_BYTES:,}")
        source = _READERS[format].open_file(path)
        _check_total(source, _READERS[format].count(path))
        durations, opaque = [], True
        for pixels, seconds in source.frames():
            durations.append(seconds)
            _check_total(source, len(durations))
            opaque = opaque and int(pixels[..., 3].min()) == 255
        orientation, metadata, notes = source.metadata()
    height, width = (source.width, source.height) if orientation >= 5 else (source.height, source.width)
    if metadata.icc and metadata.icc[16:20] == b"GRAY":  # frames are RGB
        metadata, notes = replace(metadata, icc=None), (*notes, "its grey colour profile was left out")
    return Animation(
        path,
        format,
        height,
        width,
        3 if opaque else 4,
        tuple(durations),
        source.plays,
        replace(metadata, size=(height, width)),
        notes,
        format == "webp" and decoders.is_lossless_webp(path.read_bytes()),
        orientation,
    )


def _check_total(source: Source, count: int) -> None:
    size = source.height * source.width
    if size > MAX_FRAME_PIXELS:
        raise ValueError(
            f"declares {source.width}x{source.height} pixels, and the limit of animations is {MAX_FRAME_PIXELS:,}"
        )
    if size * count > MAX_TOTAL_PIXELS:
        raise ValueError(
            f"an animation of {count:,} or more frames of {source.width}x{source.height}, more than the limit of "
            f"{MAX_TOTAL_PIXELS:,} pixels in all: split it, or convert it to a video"
        )


def _format_of(path: Path) -> str | None:
    """The format of a file with more than one frame."""
    with check_kind(path).open("rb") as file:
        head = file.read(16)
    if head.startswith(b"GIF8"):
        found = "gif"
    elif head.startswith(png.SIGNATURE):
        found = "png"
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        found = "webp"
    else:
        return None
    return found if _READERS[found].count(path) > 1 else None


class FrameWriter(Protocol):
    """Takes the frames of one animation, uint8 (H, W, 3 or 4), in order."""

    def write(self, frame: Pixels) -> None: ...


@contextmanager
def open_animation_writer(
    path: Path | str,
    shape: tuple[int, int, int],
    timing: tuple[Sequence[Fraction], int],
    format: str,
    quality: int | None = None,
    metadata: Metadata | None = None,
    new: bool = False,
) -> Iterator[FrameWriter]:
    """Yield a writer of as many frames of `shape` (H, W, C) as there are durations.

    The file appears when the block ends without error.

    Args:
        timing: (seconds of each frame, number of plays).
        format: gif, whose frames have a palette of 256 colours each, or png or webp.
        quality: of webp, as for single images.
        new: as `srkd.images.write.open_writer`.

    Raises:
        SrkdError: the format cannot store this shape.
    """
    check_holds(path, shape, FORMATS[format])
    with atomic_path(path, new) as temporary, temporary.open("w+b") as stream:
        writer = _writer(format, (stream, shape, timing), quality or DEFAULT_QUALITY, metadata or Metadata())
        checked = _Checked(writer, shape, len(timing[0]))
        yield checked
        checked.finish()


def _writer(format: str, where: tuple[Any, tuple[int, int, int], Any], quality: int, metadata: Metadata) -> Any:
    if format == "gif":
        return gif.GifWriter(*where, metadata)
    if format == "png":
        return apng.ApngWriter(*where, metadata)
    return webp.WebpWriter(*where, quality, metadata)


class _Checked:
    """Passes frames on, and raises if they are too many, too few, or of another shape."""

    def __init__(self, writer: Any, shape: tuple[int, int, int], count: int) -> None:
        self._writer, self._shape, self._count, self._written = writer, shape, count, 0

    def write(self, frame: Pixels) -> None:
        self._written += 1
        if frame.shape != self._shape or self._written > self._count:
            raise ValueError(f"frame {self._written} of shape {frame.shape} in {self._count} of {self._shape}")
        self._writer.write(frame)

    def finish(self) -> None:
        if self._written != self._count:
            raise ValueError(f"{self._written} frames written of {self._count}")
        self._writer.finish()
