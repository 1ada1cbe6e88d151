"""Writing of clips: the encoder, whole segments, and their concatenation with the other streams of the source."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path, printable_path, writing
from srkd.files.names import check_output
from srkd.video.convert import from_rgb
from srkd.video.read import Clip, Colour, Pixels, located, opened, pyav

WRITTEN = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
_DEFAULT_CRF = 16
_MOST_SIDE = {"libx264": 16384, "libvpx-vp9": 16384}  # pixels
_FREE_CLOCKS = ("mpeg", "mpegts")  # containers
_PRESET = "veryfast"  # a quarter of medium's processor time, which the network needs, for files about a tenth larger
_LOSSLESS_CODECS = ("ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "magicyuv", "png", "qtrle", "lagarith")


@dataclass(frozen=True)
class VideoEncoding:
    """An encoder of FFmpeg with its pixel format, options (name, value), frame size and colour."""

    codec: str
    pixel_format: str
    options: tuple[tuple[str, str], ...]
    size: tuple[int, int]  # height, width
    colour: Colour


def check_target(target: Path) -> None:
    """Raise SrkdError for a name without a suffix of a container that is written, or that Windows does not allow."""
    check_output(target)
    if target.suffix.lower() not in WRITTEN:
        raise SrkdError(f"{printable_path(target)}: video is written as {', '.join(WRITTEN)}; name the output so")


def encoding_for(clip: Clip, target: Path, size: tuple[int, int], quality: int | None) -> VideoEncoding:
    """The encoder for a clip's upscaled frames.

    Without `quality` a lossless or RGB clip stays lossless: FFV1 in Matroska, lossless H.264 in MP4, lossless VP9 in
    WebM. Others become H.264 (VP9 in WebM) at CRF 16, or (100 - quality) / 2; a quality of 100 is lossless. Bit depth
    and chroma subsampling are kept, except that odd sizes need 4:4:4.

    Raises:
        SrkdError: a container that is not written, or whose encoder cannot store the bit depth.
    """
    check_target(target)
    lossless = quality == 100 or (quality is None and (clip.is_rgb or clip.codec in _LOSSLESS_CODECS))
    crf = str(_DEFAULT_CRF if quality is None else (100 - quality) // 2)
    rgb = clip.is_rgb and lossless
    kind = target.suffix.lower()
    options: dict[str, str]
    if kind == ".webm":
        codec, options = "libvpx-vp9", {"lossless": "1"} if lossless else {"crf": crf, "b:v": "0"}
        options |= {"row-mt": "1", "deadline": "good", "cpu-used": "4"}
        format = "gbrp" if rgb else _yuv(clip, size)
    elif kind == ".mkv" and lossless:
        codec, options = "ffv1", {"level": "3", "slicecrc": "1"}
        format = ("bgr0" if clip.bits <= 8 else f"gbrp{clip.bits}le") if rgb else _yuv(clip, size)
    else:
        codec, options = "libx264rgb" if rgb else "libx264", {"preset": _PRESET}
        options |= {"qp": "0"} if lossless else {"crf": crf}
        format = "rgb24" if rgb else _yuv(clip, size)
    limit = _MOST_SIDE.get(codec.removesuffix("rgb"), max(size))
    if max(size) > limit:
        raise SrkdError(
            f"{printable_path(target)}: {codec} stores at most {limit} pixels a side, and the result has "
            f"{size[1]}x{size[0]}; write a lossless .mkv, with --quality 100"
        )
    if clip.bits > 8 and codec != "ffv1":
        format = _ten_bits(format, clip, codec, target, lossless)
    colour = clip.colour if rgb else clip.colour.for_yuv
    return VideoEncoding(codec, format, tuple(options.items()), size, colour)


def _yuv(clip: Clip, size: tuple[int, int]) -> str:
    height, width = size
    chroma = "420" if clip.is_rgb else clip.chroma
    if (chroma == "420" and height % 2) or (chroma != "444" and width % 2):
        chroma = "444"
    return f"yuv{chroma}p" + (f"{clip.bits}le" if clip.bits > 8 else "")


def _ten_bits(format: str, clip: Clip, codec: str, target: Path, lossless: bool) -> str:
    if codec != "libx264" or (lossless and clip.bits != 10):
        raise SrkdError(
            f"{printable_path(target)}: {codec} cannot store the {clip.bits} bits of {printable_path(clip.path)}; "
            "write .mkv, or .mp4 with --quality below 100"
        )
    return format.replace(f"p{clip.bits}le", "p10le")


def add_video(container: Any, clip: Clip, encoding: VideoEncoding) -> Any:
    """Add a clip's video stream to an output container.

    Without B-frames packets are stored in the order of presentation, so that segments follow each other seamlessly.
    """
    stream = container.add_stream(encoding.codec, rate=clip.rate or 25, options=dict(encoding.options))
    context = stream.codec_context
    context.height, context.width = encoding.size
    context.pix_fmt = encoding.pixel_format
    context.time_base = stream.time_base = clip.time_base
    if encoding.codec.startswith("libx264"):
        context.max_b_frames = 0
    if clip.aspect:
        context.sample_aspect_ratio = clip.aspect
    context.flags |= _flag("global_header")
    colour = encoding.colour
    context.colorspace, context.color_range = colour.matrix, colour.range
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    return stream


def _flag(name: str) -> int:
    return int(getattr(pyav().codec.context.Flags, name))


def write_segment(path: Path, clip: Clip, encoding: VideoEncoding, frames: Iterable[tuple[int, Pixels]]) -> int:
    """Encode frames, (time, RGB (H, W, 3)), into a segment that appears only whole; returns their number.

    A segment without frames is an empty file. Segments are NUT files, which keep any time base.
    """
    count = 0
    with atomic_path(path) as temporary:
        container: Any = None
        try:
            for time, pixels in frames:
                if container is None:
                    container = pyav().open(located(temporary), "w", format="nut")
                    stream = add_video(container, clip, encoding)
                frame = from_rgb(pixels, encoding.colour, encoding.pixel_format)
                frame.pts, frame.time_base = time, clip.time_base
                _mux(container, stream.encode(frame), path)
                count += 1
            if container is not None:
                _mux(container, stream.encode(None), path)
        finally:
            if container is not None:
                container.close()
    return count


def _mux(container: Any, packets: Any, path: Path) -> None:
    with writing(path):
        container.mux(packets)


def concatenate(clip: Clip, encoding: VideoEncoding, segments: Sequence[Path], target: Path) -> list[str]:
    """Join segments without encoding them again, with the source's audio, subtitles, chapters and metadata.

    The target appears only whole. Returns notes on streams that its format cannot store.
    """
    options = {"movflags": "+faststart"} if target.suffix.lower() in (".mp4", ".m4v", ".mov") else {}
    with (
        opened(clip.path) as source,
        atomic_path(target) as temporary,
        pyav().open(located(temporary), "w", container_options=options) as container,
    ):
        video = add_video(container, clip, encoding)
        if clip.rotation:
            video.set_display_rotation(clip.rotation)
        video.metadata.update(_kept(source.streams[clip.stream].metadata))
        copies, notes = _copied_streams(source, container, clip)
        container.metadata.update(_kept(source.metadata))
        container.set_chapters(source.chapters())
        # The clock of a broadcast or a camera starts anywhere, and players count from there.
        origin = Fraction(source.start_time or 0, 1_000_000) if source.format.name in _FREE_CLOCKS else Fraction(0)
        packets = _video_packets(clip, segments, video, origin), _other_packets(source, copies, origin)
        with writing(target):
            container.start_encoding()
            for _, _, packet in heapq.merge(*packets, key=lambda item: item[:2]):
                container.mux_one(packet)
    return notes


def _kept(metadata: dict[str, str]) -> dict[str, str]:
    """Metadata without what describes the old file's encoding."""
    brands = ("major_brand", "minor_version", "compatible_brands")
    old = ("encoder", "duration", "number_of_", "_statistics", *brands, "alpha_mode")  # no alpha is written
    return {key: value for key, value in metadata.items() if not key.lower().startswith(old)}


def _copied_streams(source: Any, container: Any, clip: Clip) -> tuple[dict[int, Any], list[str]]:
    """Output streams by the index of the source's audio and subtitle stream, and notes on those that are left out."""
    copies, notes = {}, []
    for stream in source.streams:
        if stream.index == clip.stream:
            continue
        name = getattr(getattr(stream, "codec_context", None), "name", None) or "unknown"
        if stream.type in ("audio", "subtitle") and name in container.supported_codecs:
            copy = container.add_stream_from_template(stream)
            copy.metadata.update(_kept(stream.metadata))
            copy.disposition = stream.disposition
            copies[stream.index] = copy
        else:
            notes.append(f"{container.format.name} does not store its {stream.type} stream {stream.index} ({name})")
    return copies, notes


def _video_packets(
    clip: Clip, segments: Sequence[Path], stream: Any, origin: Fraction
) -> Iterator[tuple[Fraction, int, Any]]:
    """(time in seconds from `origin`, 0, packet) of all segments, each lasting until the next."""
    last: Any = None
    for packet in _segment_packets(segments):
        packet.pts -= round(origin / packet.time_base)
        if last is not None:
            yield _timed(last, packet.pts * packet.time_base, stream)
        last = packet
    if last is not None:
        yield _timed(last, clip.end * clip.time_base - origin, stream)


def _timed(packet: Any, end: Fraction, stream: Any) -> tuple[Fraction, int, Any]:
    time = packet.pts * packet.time_base
    packet.dts, packet.duration = packet.pts, max(0, round((end - time) / packet.time_base))
    packet.stream = stream
    return time, 0, packet


def _segment_packets(segments: Sequence[Path]) -> Iterator[Any]:
    for path in segments:
        if path.stat().st_size:
            with opened(path) as container:
                yield from (packet for packet in container.demux(video=0) if packet.size)


def _other_packets(source: Any, copies: dict[int, Any], origin: Fraction) -> Iterator[tuple[Fraction, int, Any]]:
    """(time in seconds from `origin`, 1, packet) of the copied streams; damage ends them."""
    if not copies:
        return
    try:
        for packet in source.demux([source.streams[index] for index in copies]):
            if packet.size and packet.dts is not None:
                shift = round(origin / packet.time_base)
                packet.dts -= shift
                if packet.pts is not None:
                    packet.pts -= shift
                time = packet.dts * packet.time_base
                packet.stream = copies[packet.stream.index]
                yield time, 1, packet
    except pyav().error.FFmpegError:
        return
