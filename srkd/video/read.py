"""Reading of clips: an index of their frames, decoding by segment, and conversion to RGB."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
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
from srkd.images.read import MAX_PIXELS

Pixels = NDArray[Any]

_COMMON = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts")
SUFFIXES = (*_COMMON, ".mpg", ".mpeg", ".wmv", ".flv", ".nut", ".ogv", ".3gp")

# Code points of ITU-T H.273, which are FFmpeg's.
RGB, _BT709, _UNSPECIFIED, _BT601 = 0, 1, 2, 5
MATRICES = {_BT709: "bt709", 4: "fcc", _BT601: "bt601", 6: "bt601", 7: "smpte240m"}  # as the filter `scale` names them
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_BT2020_PRIMARIES, _BT2020_MATRICES = 9, (9, 10)
LIMITED, FULL = 1, 2
_LIMITED_CODECS = ("h264", "hevc", "vp9", "av1")  # without a range, their grey is limited; that of images is full
_CHECKSUMMED = ("ffv1",)
# The containers of SUFFIXES, as FFmpeg names its demuxers, and the bare streams that .mpg and .m4v may be. A playlist
# (ffconcat, HLS, DASH), whatever its own name, would have FFmpeg open other files.
_CONTAINERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "asf", "flv", "nut", "ogg", "mpegvideo", "m4v")
# FFmpeg seeks in these by decoding time, or to where the decoder has to guess times until the next time stamp.
_SEEK_INEXACTLY, _EARLIER = ("mpeg", "mpegts"), 2  # seconds before a frame from which it is reached safely
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
        return Colour(_BT709, LIMITED, self.primaries, self.transfer) if self.matrix == RGB else self


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
        return self.colour.matrix == RGB

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


def located(path: Path) -> str:
    """A path as FFmpeg takes it: in a relative one, what comes before a colon would be a protocol."""
    return os.path.abspath(path)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a clip for reading. Raises SrkdError if it cannot be opened as one."""
    av = pyav()
    try:
        container = av.open(
            located(path), metadata_errors="replace", options={"format_whitelist": ",".join(_CONTAINERS)}
        )
    except av.error.ArgumentError as error:
        raise SrkdError(
            f"{printable_path(path)} cannot be opened as a video: it holds none of the containers that srkd reads "
            "(MP4, MOV, Matroska, WebM, AVI, MPEG, WMV, FLV, NUT, Ogg)"
        ) from error
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
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise SrkdError(f"{printable_path(path)}: frames of {width}x{height}; the limit is {MAX_PIXELS:,} pixels")
        times, keys, end, damage = _indexed(container, stream, path)
        frame = _first_frame(path, stream.index)
        if _is_mirrored(frame):
            raise SrkdError(
                f"{printable_path(path)} is stored mirrored, to be flipped by the player; flip its frames first"
            )
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
            colour=_colour(frame, stream.codec_context.name, path),
            times=times,
            keys=keys,
            end=end,
            cut=damage or _cut(container, stream, end),
            notes=tuple(_notes(frame, stream.metadata)),
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


def _colour(frame: Any, codec: str, path: Path) -> Colour:
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
        return Colour(RGB, FULL, primaries, transfer)
    grey = name.startswith("gray")
    if matrix == _UNSPECIFIED or (grey and matrix == RGB):
        matrix = _BT709 if frame.height >= _HD_HEIGHT else _BT601
    if matrix not in MATRICES:
        raise SrkdError(f"{printable_path(path)} has the colour matrix {matrix} of H.273, which is not supported")
    full = name.startswith("yuvj") or int(frame.color_range) == FULL
    full |= grey and int(frame.color_range) != LIMITED and codec not in _LIMITED_CODECS
    return Colour(matrix, FULL if full else LIMITED, primaries, transfer)


def _is_mirrored(frame: Any) -> bool:
    """Whether the matrix by which a player shows a frame flips it, which is no rotation."""
    kind = importlib.import_module("av.sidedata.sidedata").Type.DISPLAYMATRIX
    data = frame.side_data.get(kind)
    if data is None:
        return False
    a, b, _, c, d, *_ = np.frombuffer(data, np.int32).astype(float)
    return bool(a * d - b * c < 0)


def _notes(frame: Any, metadata: Mapping[str, str]) -> Iterator[str]:
    if frame.interlaced_frame:
        yield "it is interlaced: deinterlace it first for a better result"
    if any(part.is_alpha for part in frame.format.components) or metadata.get("alpha_mode") == "1":  # VP8, VP9
        yield "its transparency is dropped"


def decode(clip: Clip, start: int, stop: int) -> Iterator[tuple[Any, bool]]:
    """The frames with start <= time < stop, in order, each with whether the decoder reported it as damaged."""
    earlier = start - round(_EARLIER / clip.time_base)
    for at in (time for time in (start, earlier) if time > clip.times[0]):
        with opened(clip.path) as container:
            if at == start and container.format.name in _SEEK_INEXACTLY:
                continue
            stream = container.streams[clip.stream]
            container.seek(int(at), stream=stream, backward=True)
            frames, before = _decoded(container, stream), False
            for first in frames:
                if first[0].pts < start:
                    before = True
                elif first[0].pts == start or before:
                    yield from _between(chain([first], frames), start, stop)
                    return
                else:
                    break
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
