"""Full or read-only disks and file size limits: a one-line error, no incomplete file under a final name, and the same
command succeeds once there is space."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from robustness import whole
from robustness.cases import CASES, Uninterrupted
from robustness.conftest import cases
from robustness.victims import Ended, run

SIZE = 4 << 20
LIST = [sys.executable, "-m", "srkd", "prepare_data", "--list"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A separate disk of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root, and a container that allows it")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def rejected(ended: Ended, message: str, place: Path) -> None:
    """It failed with `message` and left only whole files."""
    only_the_page = "notice: no report: cannot write" in ended.output  # training results are complete without it
    assert ended.code in ((0,) if only_the_page else (1, 2)), f"exit code {ended.code}: {ended.output}"
    assert "Traceback" not in ended.output and message in ended.output, ended.output
    whole.check(place)
    assert not list(place.rglob(".part-*"))


def _limited(size: int, call: Callable[[], Any]) -> Any:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return call()


def _sizes(folder: Path) -> list[int]:
    """Sizes of the files that a command wrote."""
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file() and "photos" not in path.parts]


@cases("train", "compare", "upscale")
def test_a_file_size_limit(
    name: str,
    uninterrupted: Callable[[str], Uninterrupted],
    tmp_path: Path,
    rounds: Callable[[int, int], int],
    tell: Callable[[str], None],
) -> None:
    whole_run, rng = uninterrupted(name), random.Random(name)
    case, largest = whole_run.case, max(_sizes(whole_run.folder))
    for attempt in range(rounds(1, 25)):
        place = case.folder(tmp_path / f"limited{attempt}")
        rejected(run(partial(_limited, rng.randrange(200, largest), case.call), place), "cannot write", place)
        again = run(case.call, place)
        assert again.code == 0, again.output
        assert case.results(place) == whole_run.results
    tell("every file was rejected with a message")


@cases("train", "prepare_data", "upscale")
def test_a_full_disk(
    name: str,
    uninterrupted: Callable[[str], Uninterrupted],
    tmp_path: Path,
    disk: Path,
    rounds: Callable[[int, int], int],
) -> None:
    whole_run, rng = uninterrupted(name), random.Random(name)
    case, written = whole_run.case, sum(_sizes(whole_run.folder))
    for attempt in range(rounds(1, 25)):
        place = case.folder(disk / f"full{attempt}")
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        filler = disk / "filler"
        filler.write_bytes(bytes(max(0, free - rng.randrange(written))))
        rejected(run(case.call, place, log=tmp_path / "logs"), "disk", place)
        filler.unlink()
        again = run(case.call, place)
        assert again.code == 0, again.output
        assert case.results(place) == whole_run.results
        shutil.rmtree(place)


@cases("train", "compare", "zoo", "prepare_data", "upscale")
def test_a_read_only_disk(name: str, tiny: Path, disk: Path) -> None:
    case = CASES[name](tiny)
    place = case.folder(disk / "place")
    before = sorted(disk.rglob("*"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        ended = run(case.call, place, log=disk)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert sorted(disk.rglob("*")) == before
    if name == "prepare_data":  # it only writes to the cache, and works without one
        assert ended.code == 0 and "cannot be used (Read-only file system)" in ended.output, ended.output
    else:
        rejected(ended, "read-only", place)


def test_a_full_standard_output(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(LIST, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "srkd: output: No space left on device\n")


def test_a_closed_pipe(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(LIST, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
