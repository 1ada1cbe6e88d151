"""Reading of clips: an index of their frames, decoding by segment, and conversion to RGB."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path

Pixels = NDArray[Any]

_COMMON = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts")
SUFFIXES = (*_COMMON, ".mpg", ".mpeg", ".wmv", ".flv", ".nut", ".ogv", ".3gp")

# Code points of ITU-T H.273, which are FFmpeg's.
_RGB, _BT709, _UNSPECIFIED, _BT601 = 0, 1, 2, 5
_MATRICES = {_BT709: 1, 4: 4, _BT601: 5, 6: 5, 7: 7}  # to swscale's tables
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_BT2020_PRIMARIES, _BT2020_MATRICES = 9, (9, 10)
_LIMITED, FULL = 1, 2
_CHECKSUMMED = ("ffv1",)
_HD_HEIGHT = 720  # from this height on, players take an unspecified matrix for BT.709, below for BT.601


def pyav() -> Any:
    """The module `av`. Raises SrkdError with the command that installs it."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise SrkdError("video needs PyAV: pip install 'srkd[video]'") from error


@dataclass(frozen=True)
class Colour:
    """How YUV or RGB samples are meant, in code points of ITU-T H.273; range 1 is limited, 2 full."""

    matrix: int
    range: int
    primaries: int
    transfer: int

    @property
    def for_yuv(self) -> Colour:
        """This colour, with BT.709 in limited range in place of RGB."""
        return Colour(_BT709, _LIMITED, self.primaries, self.transfer) if self.matrix == _RGB else self


@dataclass(frozen=True)
class Clip:
    """A clip's video stream. Times are in units of `time_base` seconds.

    Args:
        times: presentation times of all frames, ascending, int64.
        keys: those of the frames at which decoding can start.
        end: time at which the last frame ends.
        cut: what shows that the file is incomplete, or "".
        notes: what the user should know about the output.
    """

    path: Path
    stream: int
    codec: str
    width: int
    height: int
    pixel_format: str
    time_base: Fraction
    rate: Fraction | None
    aspect: Fraction | None
    rotation: int
    colour: Colour
    times: NDArray[np.int64] = field(repr=False)
    keys: NDArray[np.int64] = field(repr=False)
    end: int
    cut: str
    notes: tuple[str, ...]

    @property
    def is_rgb(self) -> bool:
        return self.colour.matrix == _RGB

    @property
    def bits(self) -> int:
        """Bits per sample."""
        return max(int(part.bits) for part in self._format.components)

    @property
    def chroma(self) -> str:
        """Chroma subsampling: "444", "422" or "420", which also stands for coarser ones and grey."""
        if len(self._format.components) < 3:
            return "420"
        shape = self._format.chroma_width(64), self._format.chroma_height(64)
        return {(64, 64): "444", (32, 64): "422"}.get(shape, "420")

    @property
    def _format(self) -> Any:
        return pyav().VideoFormat(self.pixel_format)

    def clock(self, time: int) -> str:
        """A time as h:mm:ss.mmm from the first frame."""
        milliseconds = round((int(time) - int(self.times[0])) * self.time_base * 1000)
        minutes, rest = divmod(milliseconds, 60_000)
        return f"{minutes // 60}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a clip for reading. Raises SrkdError if it cannot be opened as one."""
    av = pyav()
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SrkdError(
            f"{printable_path(path)} cannot be opened as a video: {reason}; is it damaged or cut?"
        ) from error
    with container:
        yield container


def probe(path: Path) -> Clip:
    """Read a clip's properties and the times of its frames; only the first frame is decoded.

    Raises:
        SrkdError: a file that is not a video, has no video stream, no frame or no time stamps, or HDR.
    """
    with opened(path) as container:
        stream = _video_stream(container, path)
        times, keys, end, damage = _indexed(container, stream, path)
        frame = _first_frame(path, stream.index)
        return Clip(
            path=path,
            stream=stream.index,
            codec=stream.codec_context.name,
            width=frame.width,
            height=frame.height,
            pixel_format=frame.format.name,
            time_base=stream.time_base,
            rate=stream.average_rate,
            aspect=stream.sample_aspect_ratio,
            rotation=int(frame.rotation),
            colour=_colour(frame, path),
            times=times,
            keys=keys,
            end=end,
            cut=damage or _cut(container, stream, end),
            notes=tuple(_notes(frame)),
        )


def _video_stream(container: Any, path: Path) -> Any:
    pictures = pyav().stream.Disposition.attached_pic  # the cover of a song
    for stream in container.streams.video:
        if not stream.disposition & pictures:
            return stream
    raise SrkdError(f"{printable_path(path)} has no video stream")


def _indexed(container: Any, stream: Any, path: Path) -> tuple[Any, Any, int, str]:
    """The times of a stream's frames and key frames, the end of the last one, and what interrupted reading, or ""."""
    times, keys, end, damage = [], [], 0, ""
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:  # the end, or a frame outside the edit list
                continue
            if packet.pts is None:
                raise SrkdError(
                    f"{printable_path(path)} has frames without time stamps; remux it to .mkv or .mp4 first"
                )
            times.append(packet.pts)
            end = max(end, packet.pts + (packet.duration or 1))
            if packet.is_keyframe:
                keys.append(packet.pts)
    except pyav().error.FFmpegError as error:
        damage = f"reading stops with: {error.strerror}"
    if not times:
        raise SrkdError(f"{printable_path(path)} has no video frames")
    first = times[0] if not keys else min(keys[0], *times[:1])
    return np.unique(np.array(times, np.int64)), np.unique(np.array([first, *keys], np.int64)), end, damage


def _cut(container: Any, stream: Any, end: int) -> str:
    """That the file declares to last longer than its frames, by more than a second and a tenth of it; or ""."""
    declared = stream.duration * stream.time_base if stream.duration else None
    if declared is None and container.duration and not container.streams.audio:
        declared = Fraction(container.duration, 1_000_000)
    lasts = (end - (stream.start_time or 0)) * stream.time_base
    if declared is not None and declared - lasts > max(1, declared / 10):
        return f"it declares {float(declared):.1f} s, but has frames for {float(lasts):.1f} s"
    return ""


def _first_frame(path: Path, index: int) -> Any:
    with opened(path) as container:
        for frame, _ in _decoded(container, container.streams[index]):
            return frame
    raise SrkdError(f"{printable_path(path)}: none of its video frames can be decoded")


def _colour(frame: Any, path: Path) -> Colour:
    """A frame's colour, with a guess where matrix or range are not given.

    Raises:
        SrkdError: HDR or BT.2020, which a network for 8-bit images would wash out; or an unknown matrix.
    """
    matrix, primaries, transfer = int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)
    if transfer in _HDR_TRANSFERS or primaries == _BT2020_PRIMARIES or matrix in _BT2020_MATRICES:
        kind = f"HDR ({_HDR_TRANSFERS[transfer]})" if transfer in _HDR_TRANSFERS else "wide-gamut (BT.2020)"
        raise SrkdError(
            f"{printable_path(path)} is {kind} video, which is not supported: convert it to SDR BT.709 first"
        )
    name = frame.format.name
    if frame.format.is_rgb or name.startswith(("gbr", "pal8")):
        return Colour(_RGB, FULL, primaries, transfer)
    if matrix == _UNSPECIFIED:
        matrix = _BT709 if frame.height >= _HD_HEIGHT else _BT601
    if matrix not in _MATRICES:
        raise SrkdError(f"{printable_path(path)} has the colour matrix {matrix} of H.273, which is not supported")
    full = name.startswith("yuvj") or int(frame.color_range) == FULL
    return Colour(matrix, FULL if full else _LIMITED, primaries, transfer)


def _notes(frame: Any) -> Iterator[str]:
    if frame.interlaced_frame:
        yield "it is interlaced: deinterlace it first for a better result"
    if any(part.is_alpha for part in frame.format.components):
        yield "its transparency is dropped"


def decode(clip: Clip, start: int, stop: int) -> Iterator[tuple[Any, bool]]:
    """The frames with start <= time < stop, in order, each with whether the decoder reported it as damaged."""
    if start > clip.times[0]:
        with opened(clip.path) as container:
            stream = container.streams[clip.stream]
            container.seek(int(start), stream=stream, backward=True)
            frames = _decoded(container, stream)
            first = next(frames, None)
            if first is not None and first[0].pts <= start:
                yield from _between(chain([first], frames), start, stop)
                return
    # The beginning, or a container that cannot seek to that frame.
    with opened(clip.path) as container:
        yield from _between(_decoded(container, container.streams[clip.stream]), start, stop)


def _between(frames: Iterator[tuple[Any, bool]], start: int, stop: int) -> Iterator[tuple[Any, bool]]:
    """Frames within the times; one that does not follow its predecessor, as after damage, is left out."""
    last = start - 1
    for frame, damaged in frames:
        if frame.pts >= stop:
            return
        if frame.pts > last:
            last = frame.pts
            yield frame, damaged


def _decoded(container: Any, stream: Any) -> Iterator[tuple[Any, bool]]:
    """All frames from where the container is, and whether each is damaged; packets that fail are skipped."""
    failure = pyav().error.FFmpegError
    stream.thread_type = "NONE" if stream.codec_context.name in _CHECKSUMMED else "AUTO"
    packets = container.demux(stream)
    while True:
        packet, frames = None, []
        with suppress(failure):
            packet = next(packets, None)
        with _logged_errors(stream.codec_context) as logged, suppress(failure):
            frames = stream.codec_context.decode(packet if packet is not None and packet.size else None)
        yield from ((frame, bool(logged) or frame.is_corrupt) for frame in frames if frame.pts is not None)
        if packet is None or not packet.size:
            return


@contextmanager
def _logged_errors(decoder: Any) -> Iterator[list[Any]]:
    """Errors that a decoder with checksums only logs, within the block, in this thread."""
    if decoder.name not in _CHECKSUMMED:
        yield []
        return
    log = importlib.import_module("av.logging")
    level = log.get_level()
    log.set_level(log.ERROR)
    try:
        with log.Capture(local=True) as messages:
            yield messages
    finally:
        log.set_level(level)


def to_rgb(frame: Any, clip: Clip) -> Pixels:
    """A decoded frame as RGB (H, W, 3), uint8, or uint16 if it has more than 8 bits.

    Raises:
        SrkdError: the frame's size differs from the clip's.
    """
    if (frame.width, frame.height) != (clip.width, clip.height):
        raise SrkdError(
            f"{printable_path(clip.path)} changes its size at {clip.clock(frame.pts)} from {clip.width}x{clip.height} "
            f"to {frame.width}x{frame.height}; split it there"
        )
    format = "rgb48le" if clip.bits > 8 else "rgb24"
    given = (
        {} if clip.is_rgb else {"src_colorspace": _MATRICES[clip.colour.matrix], "src_color_range": clip.colour.range}
    )
    rgb = converted(frame, format, **given, dst_color_range=FULL)
    pixels: Pixels = rgb.to_ndarray()
    return pixels


def from_rgb(pixels: Pixels, colour: Colour, pixel_format: str) -> Any:
    """RGB (H, W, 3) of uint8 or uint16 as a frame of `pixel_format`, which is tagged with its colour."""
    frame = pyav().VideoFrame.from_ndarray(pixels, format="rgb48le" if pixels.dtype == np.uint16 else "rgb24")
    wanted = {} if colour.matrix == _RGB else {"dst_colorspace": _MATRICES[colour.matrix]}
    frame = converted(frame, pixel_format, **wanted, src_color_range=FULL, dst_color_range=colour.range)
    frame.colorspace, frame.color_range = colour.matrix, colour.range
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def converted(frame: Any, format: str, **options: int) -> Any:
    """A frame in another pixel format, by swscale's accurate path, which is the same on every processor."""
    reformatter = importlib.import_module("av.video.reformatter")
    kind = reformatter.Interpolation
    exact = kind.BICUBIC | kind.ACCURATE_RND | kind.BITEXACT | kind.FULL_CHR_H_INT | kind.FULL_CHR_H_INP
    return reformatter.VideoReformatter().reformat(frame, format=format, interpolation=exact, **options)
