"""Clips of a few frames, made here, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srkd.inference.jobs import Job
from srkd.video import convert, read
from support import textured

av = pytest.importorskip("av", reason="the extra video is not installed")

MILLISECONDS, MPEG = Fraction(1, 1000), Fraction(1, 90000)
LOSSLESS_MP4 = {"codec": "libx264rgb", "format": "rgb24", "base": MPEG, "options": {"qp": "0"}}
LOSSY = {
    "codec": "libx264",
    "format": "yuv420p",
    "base": MPEG,
    "options": {"crf": "5", "x264-params": "scenecut=0:bframes=0"},
}
SEGMENT = 0.15  # seconds; with 25 frames per second and groups of 4, each group is a segment


def clip(
    path: Path,
    codec: str = "ffv1",
    format: str = "bgr0",
    base: Fraction = MILLISECONDS,
    times: Sequence[int] | None = None,
    count: int = 12,
    size: tuple[int, int] = (24, 32),
    options: dict[str, str] | None = None,
    sound: bool = False,
    colour: dict[str, int] | None = None,
) -> Path:
    """Write a clip; `times` in milliseconds."""
    container: Any = av.open(str(path), "w")
    stream = container.add_stream(codec, rate=25, options=options or {})
    stream.height, stream.width = size
    stream.pix_fmt, stream.codec_context.time_base, stream.codec_context.gop_size = format, base, 4
    for key, value in (colour or {}).items():
        setattr(stream.codec_context, key, value)
    audio = (
        container.add_stream("flac" if path.suffix == ".mkv" else "aac", rate=8000, layout="mono") if sound else None
    )
    if audio is not None:
        audio.metadata["language"] = "kor"
    for number, when in enumerate(times or [40 * n for n in range(count)]):
        frame = av.VideoFrame.from_ndarray(textured(number, *size), format="rgb24").reformat(format=format)
        frame.pts, frame.time_base = int(Fraction(when, 1000) / base), base
        for key, value in (colour or {}).items():
            setattr(frame, key, value)
        container.mux(stream.encode(frame))
    container.start_encoding()
    container.mux(stream.encode(None) if stream.codec_context.is_open else [])
    if audio is not None:
        noise = np.random.default_rng(0).integers(-9000, 9000, (4, 1, 1024)).astype(np.int16)
        for number, samples in enumerate(noise):
            block = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            block.sample_rate, block.pts = 8000, 1024 * number
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    container.close()
    return path


def job(source: Path, name: str) -> Job:
    return Job(source, source.with_name(name), Path(name).suffix[1:])


def frames(path: Path) -> list[np.ndarray]:
    found = read.probe(path)
    return [convert.to_rgb(frame, found) for frame, _ in read.decode(found, int(found.times[0]), found.end + 1)]


def seconds(path: Path) -> list[Fraction]:
    found = read.probe(path)
    return [int(time) * found.time_base for time in found.times]


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        found = container.demux(**{kind: 0})
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in found if packet.size]
