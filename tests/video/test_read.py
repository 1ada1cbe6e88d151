"""Clips that are read, and those that are rejected."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from video.clips import clip

from srkd.errors import SrkdError
from srkd.video import convert, read
from srkd.video.job import split
from support import textured

av = pytest.importorskip("av", reason="the extra video is not installed")


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=8000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        block.sample_rate, block.pts = 8000, 0
        container.mux(stream.encode(block))
        container.mux(stream.encode(None))


def playlist(path: Path) -> None:
    """A stranger's file, which would have FFmpeg open another one."""
    clip(path.with_name("other.mkv"))
    path.write_text("ffconcat version 1.0\nfile other.mkv\n", encoding="utf-8")


def hdr(path: Path, transfer: int, primaries: int = 9) -> None:
    clip(path, format="yuv420p10le", count=1, colour={"color_trc": transfer, "color_primaries": primaries})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("text"), "cannot be opened as a video"),
        (lambda path: path.write_bytes(b""), "cannot be opened as a video"),
        (playlist, "none of the containers"),
        (sound_only, "has no video stream"),
        (lambda path: hdr(path, 16), r"is HDR \(PQ\) video"),
        (lambda path: hdr(path, 18), r"is HDR \(HLG\) video"),
        (lambda path: hdr(path, 14), r"is wide-gamut \(BT.2020\) video"),
    ],
)
def test_inputs_that_are_rejected_in_one_line(tmp_path: Path, make: Any, words: str) -> None:
    make(tmp_path / "a.mkv")
    with pytest.raises(SrkdError, match=words) as caught:
        read.probe(tmp_path / "a.mkv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", read.SUFFIXES)
def test_containers(suffix: str, tmp_path: Path) -> None:
    codec = {".wmv": "wmv2", ".flv": "flv1", ".ogv": "theora", ".webm": "libvpx"}.get(suffix, "mpeg4")
    if suffix in (".mpg", ".mpeg"):
        codec = "mpeg1video"
    if suffix == ".ogv":
        pytest.skip("PyAV's FFmpeg has no encoder for Theora")
    made = clip(tmp_path / f"a{suffix}", codec, "yuv420p", Fraction(1, 25), size=(64, 64))
    assert len(read.probe(made).times) == 12


@pytest.mark.parametrize(
    ("name", "codec", "format"), [("a.mpg", "mpeg1video", "mpeg1video"), ("a.m4v", "mpeg4", "m4v")]
)
def test_streams_without_a_container(name: str, codec: str, format: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / name), "w", format=format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(textured(number, 48, 64), format="rgb24")))
        container.mux(stream.encode(None))
    assert len(read.probe(tmp_path / name).times) == 5


def test_a_video_stream_without_frames(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mkv", count=0, sound=True)
    with pytest.raises(SrkdError, match="has no video frames"):
        read.probe(made)


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_segments_of_broadcasts_have_the_frames_of_the_whole(suffix: str, tmp_path: Path) -> None:
    """Decoding from a key frame finds the frames and times of decoding from the beginning, at little cost."""
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"g": "12", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(250):
            image = np.full((48, 64, 3), number % 250, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = read.probe(path)

    def decoded(start: int, stop: int) -> dict[int, int]:
        return {f.pts: int(convert.to_rgb(f, found).mean()) for f, _ in read.decode(found, start, stop)}

    whole, pieces = decoded(int(found.times[0]), found.end + 1), dict[int, int]()
    for segment in split(found, 2.0):
        pieces |= decoded(segment.start, segment.stop)
    assert len(whole) > 240 and pieces == whole


def test_frames_that_no_memory_takes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = clip(tmp_path / "a.mkv")
    monkeypatch.setattr(read, "MAX_PIXELS", 100)
    with pytest.raises(SrkdError, match=r"a\.mkv: frames of \d+x\d+; the limit is 100 pixels"):
        read.probe(made)
