"""Plans and segments of clips, runs that were stopped, and damage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from video.clips import LOSSY, SEGMENT, clip, frames, job, packets, seconds

from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.inference.files import Options
from srkd.inference.model import Model
from srkd.training.log import Progress
from srkd.video import read
from srkd.video.job import plan_clips, split, upscale_clip

TOOL = Path(__file__).parents[2] / "tools" / "upscale.py"


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


def test_progress_shows_frames_per_second_and_the_time_left(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Progress, "_rate", lambda self: 4.0)
    made = clip(tmp_path / "a.mkv", count=12)
    assert main(["upscale", str(made), "-o", str(tmp_path / "b.mkv"), "-m", str(checkpoint)]) == 0
    error = capsys.readouterr().err
    assert "a.mkv, frames: 1/12 (4.0/s, 0:03 left)" in error and "a.mkv, frames: 12/12 (4.0/s)" in error
    assert "frames/s, network" in error
