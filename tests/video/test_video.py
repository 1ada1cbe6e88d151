"""Clips of a few frames, made here: what is kept, what is rejected, damage, and resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.inference.files import Options
from srkd.inference.jobs import Job
from srkd.inference.model import Model
from srkd.training.log import Progress
from srkd.video import convert, read
from srkd.video.job import plan_clips, split, upscale_clip
from srkd.video.overlap import overlapped
from srkd.video.write import encoding_for
from support import textured, tiny_checkpoint

av = pytest.importorskip("av", reason="the extra video is not installed")

MILLISECONDS, MPEG = Fraction(1, 1000), Fraction(1, 90000)
TOOL = Path(__file__).parents[2] / "tools" / "upscale.py"
LOSSLESS_MP4 = {"codec": "libx264rgb", "format": "rgb24", "base": MPEG, "options": {"qp": "0"}}
LOSSY = {
    "codec": "libx264",
    "format": "yuv420p",
    "base": MPEG,
    "options": {"crf": "5", "x264-params": "scenecut=0:bframes=0"},
}
SEGMENT = 0.15  # seconds; with 25 frames per second and groups of 4, each group is a segment


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Model:
    return Model.load(checkpoint)


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


@pytest.mark.parametrize(("matrix", "full", "red"), [(1, 1, 63), (1, 2, 54), (5, 1, 81), (5, 2, 76)])
def test_luma_of_red_is_that_of_the_standards(matrix: int, full: int, red: int) -> None:
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[..., 0] = 255
    frame = convert.from_rgb(pixels, read.Colour(matrix, full, 2, 2), "yuv444p")
    assert abs(int(frame.to_ndarray()[0, 0, 0]) - red) <= 1


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


def test_a_killed_run_is_continued(tmp_path: Path, checkpoint: Path, model: Model) -> None:
    made = clip(tmp_path / "a.mkv", times=[2000 * n for n in range(120)])  # a segment is 8 s, one group of 4
    whole, out, parts = job(made, "whole.mkv"), tmp_path / "b.mkv", tmp_path / "b.mkv.parts"
    command = [str(made), "-o", str(out), "-m", str(checkpoint)]
    process = subprocess.Popen([sys.executable, str(TOOL), *command], stderr=subprocess.DEVNULL)
    while not list(parts.glob("0*.nut")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert (parts / "000000.nut").stat().st_size > 0
    (parts / "mine.txt").write_text("the user's")
    assert main(["upscale", *command]) == 0
    assert sorted(os.listdir(parts)) == [".lock", ".srkd", "mine.txt"]
    upscale_clip(model, whole, Options())
    assert frames_equal(out, whole.target) and seconds(out) == seconds(made)


def frames_equal(one: Path, other: Path) -> bool:
    pairs = zip(frames(one), frames(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_an_interrupted_run_computes_only_what_is_missing(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, calls, upscale = clip(tmp_path / "a.mkv"), [], model.upscale

    def interrupted(pixels: np.ndarray, *options: Any) -> Any:
        calls.append(1)
        if len(calls) == 10:
            deadline = time.monotonic() + 60
            while not (tmp_path / "b.mkv.parts" / "000001.nut").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            raise KeyboardInterrupt
        return upscale(pixels, *options)

    monkeypatch.setattr(model, "upscale", interrupted)
    with pytest.raises(KeyboardInterrupt):
        upscale_clip(model, job(made, "b.mkv"), Options(), SEGMENT)
    assert not (tmp_path / "b.mkv").exists()
    assert upscale_clip(model, job(made, "b.mkv"), Options(), SEGMENT).frames == 4
    monkeypatch.undo()
    upscale_clip(model, job(made, "c.mkv"), Options(), SEGMENT)
    assert frames_equal(tmp_path / "b.mkv", tmp_path / "c.mkv")
    assert sorted(os.listdir(tmp_path)) == ["a.mkv", "b.mkv", "c.mkv"]


def test_a_folder_of_the_users_is_left_alone(tmp_path: Path, model: Model) -> None:
    made = clip(tmp_path / "a.mkv")
    (tmp_path / "b.mkv.parts").mkdir()
    (tmp_path / "b.mkv.parts" / "000000.nut").write_text("mine")
    with pytest.raises(SrkdError, match="was not created by srkd"):
        upscale_clip(model, job(made, "b.mkv"), Options(), SEGMENT)
    assert (tmp_path / "b.mkv.parts" / "000000.nut").read_text() == "mine"


@pytest.mark.parametrize(("options", "suffix"), [({}, ".mkv"), (LOSSY, ".mp4")])
def test_a_corrupt_packet_is_named_with_its_segment(
    tmp_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    suffix: str,
) -> None:
    times = [2000 * n for n in range(12)]
    made = clip(tmp_path / f"a{suffix}", times=times, **options)
    data, packet = bytearray(made.read_bytes()), packets(made, "video")[5][1]
    place = data.index(packet)
    data[place + 4 : place + len(packet)] = b"\xff" * (len(packet) - 4)
    made.write_bytes(data)
    out = tmp_path / f"b{suffix}"
    assert main(["upscale", str(made), "-o", str(out), "-m", str(checkpoint)]) == 2
    error = capsys.readouterr().err
    assert "segment 2 of 3 (0:00:08.000 to 0:00:16.000): 1 of 4 frames are damaged or lost" in error
    assert error.count("segment") == 1
    assert len(frames(out)) == 11 and not (tmp_path / f"b{suffix}.parts").exists()


def test_a_clip_cut_in_the_middle(tmp_path: Path, model: Model) -> None:
    made = clip(tmp_path / "a.mkv", count=80)
    data = made.read_bytes()
    made.write_bytes(data[: len(data) // 2])
    done = upscale_clip(model, job(made, "b.mkv"), Options())
    assert done.failures and "the file is cut: it declares 3.2 s" in done.failures[-1]
    assert 30 < len(frames(tmp_path / "b.mkv")) < 50
    whole = clip(tmp_path / "c.mp4", **LOSSY)
    whole.write_bytes(whole.read_bytes()[:3000])  # without its index
    with pytest.raises(SrkdError, match="cannot be opened as a video"):
        read.probe(whole)


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


def test_segments_start_at_key_frames_and_cover_all_frames(tmp_path: Path) -> None:
    found = read.probe(clip(tmp_path / "a.mkv", count=14))
    segments = split(found, SEGMENT)
    assert [segment.frames for segment in segments] == [4, 4, 4, 2]
    assert {segment.start for segment in segments} <= set(found.keys.tolist())
    assert len(split(found, 5)) == 1


def test_plans(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"")
    source = str(tmp_path / "a.mp4")
    assert plan_clips([source], tmp_path / "out", "_x2")[0].target == tmp_path / "out" / "a_x2.mp4"
    for inputs, output, words in [
        ([source, str(tmp_path / "b.png")], tmp_path / "out", "in separate commands"),
        ([source], tmp_path, "would overwrite an input"),
        ([source], tmp_path / "b.avi", "is written as"),
        ([str(tmp_path / "c.mp4")], tmp_path / "out", "no such file"),
    ]:
        with pytest.raises(SrkdError, match=words):
            plan_clips(inputs, output)


def test_dry_run_and_json(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, out = clip(tmp_path / "a.mkv", count=2), tmp_path / "b.mp4"
    arguments = ["upscale", str(made), "-o", str(out), "-m", str(checkpoint)]
    assert main([*arguments, "--dry-run"]) == 0
    assert capsys.readouterr().out.strip() == f"{made} 32x24 -> {out} 64x48" and not out.exists()
    assert main([*arguments, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["images"]
    assert entry["status"] == "written" and entry["upscaled_size"] == [64, 48]
    assert main([*arguments, "--skip-existing", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["status"] == "skipped"


def test_a_dry_run_that_finds_a_damaged_clip_fails(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, damaged = clip(tmp_path / "a.mkv", count=2), tmp_path / "b.mp4"
    damaged.write_bytes(bytes(100))
    options = ["-o", str(tmp_path / "out"), "-m", str(checkpoint), "--dry-run"]
    (tmp_path / "out").mkdir()
    assert main(["upscale", str(damaged), *options]) == 1
    assert "1 of 1 videos cannot be upscaled" in capsys.readouterr().err
    assert main(["upscale", str(made), str(damaged), *options]) == 2
    printed = capsys.readouterr()
    assert "1 of 2 videos cannot be upscaled" in printed.err and "32x24 -> " in printed.out


@pytest.mark.parametrize("where", ["read", "compute", "write"])
def test_the_first_error_ends_all_three_steps(where: str) -> None:
    complete = []

    def fail(step: str, number: int) -> int:
        if step == where and number == 5:
            raise ValueError(step)
        return number

    def write(items: Any) -> None:
        for number in items:
            fail("write", number)
        complete.append(1)

    with pytest.raises(ValueError, match=where):
        overlapped(lambda: (fail("read", n) for n in range(100)), lambda n: fail("compute", n), write)
    assert not complete


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


def test_progress_shows_frames_per_second_and_the_time_left(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Progress, "_rate", lambda self: 4.0)
    made = clip(tmp_path / "a.mkv", count=12)
    assert main(["upscale", str(made), "-o", str(tmp_path / "b.mkv"), "-m", str(checkpoint)]) == 0
    error = capsys.readouterr().err
    assert "a.mkv, frames: 1/12 (4.0/s, 0:03 left)" in error and "a.mkv, frames: 12/12 (4.0/s)" in error
    assert "frames/s, network" in error


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


def test_frames_that_no_encoder_or_memory_takes_are_named_before_anything_is_upscaled(
    model: Model, tmp_path: Path
) -> None:
    found = read.probe(clip(tmp_path / "a.mkv"))
    with pytest.raises(
        SrkdError, match=r"libx264 stores at most 16384 pixels a side, and the result has 16800x64; write"
    ):
        encoding_for(replace(found, colour=read.Colour(1, 1, 1, 1), codec="h264"), Path("b.mp4"), (64, 16800), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "MAX_PIXELS", 100)
        with pytest.raises(SrkdError, match=r"a\.mkv: frames of \d+x\d+; the limit is 100 pixels"):
            read.probe(tmp_path / "a.mkv")
