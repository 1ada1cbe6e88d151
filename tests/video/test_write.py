"""What is kept of a clip: frames, times, colour, depth, rotation, and the other streams."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from video.clips import LOSSLESS_MP4, LOSSY, SEGMENT, clip, frames, job, packets, seconds

from srkd.errors import SrkdError
from srkd.inference.files import Options
from srkd.inference.jobs import Job
from srkd.inference.model import Model
from srkd.video import read
from srkd.video.job import upscale_clip
from srkd.video.write import encoding_for

av = pytest.importorskip("av", reason="the extra video is not installed")


@pytest.mark.parametrize(
    ("options", "source", "target"),
    [({}, "a.mkv", "b.mkv"), (LOSSLESS_MP4, "a.mp4", "b.mp4"), ({"size": (25, 33)}, "a.mkv", "b.webm")],
)
def test_frames_of_a_lossless_clip_equal_upscaled_images(
    tmp_path: Path, model: Model, options: dict[str, Any], source: str, target: str
) -> None:
    made = clip(tmp_path / source, **options)
    done = upscale_clip(model, job(made, target), Options(), SEGMENT)
    inputs, outputs = frames(made), frames(tmp_path / target)
    assert len(inputs) == len(outputs) == done.frames == 12 and not done.failures
    for given, upscaled in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(upscaled, model.upscale(given))
    assert sorted(os.listdir(tmp_path)) == sorted([source, target])


@pytest.mark.parametrize(("options", "suffix"), [({}, ".mkv"), (LOSSY, ".mp4")])
def test_variable_frame_rate_and_sound_are_kept(
    tmp_path: Path, model: Model, options: dict[str, Any], suffix: str
) -> None:
    times = [0, 40, 90, 100, 250, 290, 300, 500, 501, 640, 1000, 1040]
    made = clip(tmp_path / f"a{suffix}", times=times, sound=True, **options)
    upscale_clip(model, job(made, f"b{suffix}"), Options(), SEGMENT)
    result = tmp_path / f"b{suffix}"
    assert seconds(result) == seconds(made) == [Fraction(t, 1000) for t in times]
    assert packets(result, "audio") == packets(made, "audio")
    before, after = read.probe(made), read.probe(result)
    assert after.end * after.time_base == before.end * before.time_base
    with av.open(str(result)) as container:
        assert container.streams.audio[0].language == "kor"


@pytest.mark.parametrize("target", ["b.mkv", "b.mp4", "b.webm"])
@pytest.mark.parametrize(("matrix", "full"), [(1, 1), (1, 2), (6, 1)])
def test_colour_is_kept(tmp_path: Path, target: str, matrix: int, full: int) -> None:
    """A network that repeats pixels gives the same colours, and the tags are those of the source."""
    tags = {"colorspace": matrix, "color_range": full, "color_primaries": matrix, "color_trc": matrix}
    made = clip(tmp_path / "a.mkv", format="yuv444p", colour=tags, count=2)
    upscale_clip(Model(torch.nn.Upsample(scale_factor=2), 2), job(made, target), Options(quality=100))
    found = read.probe(tmp_path / target)
    assert found.colour == read.Colour(matrix, full, matrix, matrix)
    for given, upscaled in zip(frames(made), frames(tmp_path / target), strict=True):
        assert np.abs(upscaled[::2, ::2].astype(int) - given).max() <= 3  # twice to 8-bit YUV


def test_ten_bits_stay_ten(tmp_path: Path) -> None:
    made = clip(tmp_path / "a.mkv", format="yuv444p10le", count=2)
    upscale_clip(Model(torch.nn.Upsample(scale_factor=2), 2), job(made, "b.mkv"), Options())
    assert read.probe(tmp_path / "b.mkv").pixel_format == "yuv444p10le"
    (given, *_), (upscaled, *_) = frames(made), frames(tmp_path / "b.mkv")
    assert upscaled.dtype == np.uint16
    assert np.abs(upscaled[::2, ::2].astype(int) - given).max() <= 3 * 64


def test_rotation_is_kept(tmp_path: Path, model: Model) -> None:
    clip(tmp_path / "plain.mp4", **LOSSY)
    with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(tmp_path / "a.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    upscale_clip(model, job(tmp_path / "a.mp4", "b.mp4"), Options())
    assert read.probe(tmp_path / "b.mp4").rotation == read.probe(tmp_path / "a.mp4").rotation == 90


def test_subtitles_are_copied(tmp_path: Path, model: Model) -> None:
    """Text and times as they were, in Matroska; in MP4, which does not store SubRip, a note."""
    made, lines = clip(tmp_path / "plain.mkv"), [(0, 120, b"First line"), (160, 200, "Zeile zwei, 둘".encode())]
    subtitles = tmp_path / "a.srt"
    clock = "00:00:00,{:03d} --> 00:00:00,{:03d}"
    subtitles.write_bytes(
        b"\n".join(
            f"{number}\n{clock.format(start, stop)}\n".encode() + text + b"\n"
            for number, (start, stop, text) in enumerate(lines, 1)
        )
    )
    with av.open(str(made)) as video, av.open(str(subtitles)) as text, av.open(str(tmp_path / "a.mkv"), "w") as target:
        streams = {s: target.add_stream_from_template(s) for s in (video.streams.video[0], text.streams.subtitles[0])}
        for container in (video, text):
            for packet in container.demux():
                if packet.size:
                    packet.stream = streams[packet.stream]
                    target.mux(packet)
    done = upscale_clip(model, job(tmp_path / "a.mkv", "b.mkv"), Options(), SEGMENT)
    copied = packets(tmp_path / "b.mkv", "subtitles")
    assert copied == packets(tmp_path / "a.mkv", "subtitles") and not done.notes
    assert [(time, data) for time, data in copied] == [(Fraction(start, 1000), text) for start, _, text in lines]
    done = upscale_clip(model, job(tmp_path / "a.mkv", "b.mp4"), Options(), SEGMENT)
    assert done.notes == ["mp4 does not store its subtitle stream 1 (srt)"]


def test_a_clock_that_starts_late_starts_at_zero(model: Model, tmp_path: Path) -> None:
    source = clip(tmp_path / "a.ts", times=[40_000_000 + 40 * n for n in range(6)], **LOSSY)
    upscale_clip(model, job(source, "b.mkv"), Options())
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert container.duration < 2_000_000  # microseconds


def test_names_with_colons(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip(Path("10_30.mkv")).rename("10:30.mkv")
    upscale_clip(model, Job(Path("10:30.mkv"), Path("concat:11:30.mkv"), "mkv"), Options())
    assert len(frames(Path("concat:11:30.mkv"))) == len(frames(Path("10:30.mkv")))


def test_frames_that_no_encoder_takes_are_named_before_anything_is_upscaled(tmp_path: Path) -> None:
    found = read.probe(clip(tmp_path / "a.mkv"))
    with pytest.raises(
        SrkdError, match=r"libx264 stores at most 16384 pixels a side, and the result has 16800x64; write"
    ):
        encoding_for(replace(found, colour=read.Colour(1, 1, 1, 1), codec="h264"), Path("b.mp4"), (64, 16800), None)
