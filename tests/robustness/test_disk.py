"""Disks that are full or read-only, and files that may not grow: one line says so, nothing half-written stands under a
final name, and the same command succeeds once there is room."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from robustness import whole
from robustness.cases import CASES
from robustness.victims import Ended, run

SIZE = 4 << 20
LIST = [sys.executable, "-m", "srkd", "prepare_data", "--list"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root, and a container that allows it")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def refused(ended: Ended, words: str, place: Path) -> None:
    """It failed in words, and left only whole files."""
    assert ended.code in (1, 2), f"exit code {ended.code}: {ended.said}"
    assert "Traceback" not in ended.said and words in ended.said, ended.said
    whole.check(place)
    assert not list(place.rglob(".part-*"))


def _limited(size: int, call: Callable[[], Any]) -> Any:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return call()


def _largest(folder: Path) -> int:
    return max(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "photos" not in path.parts)


@pytest.mark.parametrize("name", list(CASES))
def test_files_that_may_not_grow(
    name: str, tiny: Path, tmp_path: Path, rounds: Callable[[int, int], int], tell: Callable[[str], None]
) -> None:
    case, rng = CASES[name](tiny), random.Random(name)
    run(case.call, case.folder(tmp_path / "whole"))
    expected, largest = case.results(tmp_path / "whole"), _largest(tmp_path / "whole")
    for attempt in range(rounds(1, 25)):
        place = case.folder(tmp_path / f"limited{attempt}")
        ended = run(partial(_limited, rng.randrange(200, largest), case.call), place)
        refused(ended, "cannot write", place)
        again = run(case.call, place)
        assert again.code == 0, again.said
        assert case.results(place) == expected
    tell("every file was refused in words")


@pytest.mark.parametrize("name", list(CASES))
def test_a_full_disk(name: str, tiny: Path, tmp_path: Path, disk: Path, rounds: Callable[[int, int], int]) -> None:
    case, rng = CASES[name](tiny), random.Random(name)
    run(case.call, case.folder(tmp_path / "whole"))
    expected = case.results(tmp_path / "whole")
    written = sum(p.stat().st_size for p in (tmp_path / "whole").rglob("*") if p.is_file() and "photos" not in p.parts)
    for attempt in range(rounds(1, 25)):
        place = case.folder(disk / f"full{attempt}")
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        filler = disk / "filler"
        filler.write_bytes(bytes(max(0, free - rng.randrange(written))))
        refused(run(case.call, place, log=tmp_path / "logs"), "disk is full", place)
        filler.unlink()
        again = run(case.call, place)
        assert again.code == 0, again.said
        assert case.results(place) == expected
        subprocess.run(["rm", "-r", str(place)], check=True)


@pytest.mark.parametrize("name", list(CASES))
def test_a_read_only_disk(name: str, tiny: Path, disk: Path) -> None:
    case = CASES[name](tiny)
    place = case.folder(disk / "place")
    before = sorted(disk.rglob("*"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        refused(run(case.call, place, log=disk), "read-only", place)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert sorted(disk.rglob("*")) == before


def test_a_full_standard_output(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(LIST, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "srkd: output: No space left on device\n")


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(LIST, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
