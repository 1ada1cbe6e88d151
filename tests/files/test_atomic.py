from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path, printable_path, write_bytes, write_json, write_text


def test_final_name_appears_only_when_complete(tmp_path: Path) -> None:
    final = tmp_path / "new" / "a.png"
    with atomic_path(final) as temporary:
        assert temporary.parent == final.parent
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"whole")
        assert not final.exists()
    assert final.read_bytes() == b"whole"
    assert os.listdir(final.parent) == ["a.png"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    final = tmp_path / "a.txt"
    write_text(final, "old")
    with pytest.raises(error), atomic_path(final) as temporary:
        temporary.write_text("half")
        raise error
    assert final.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_helpers_and_permissions(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"name": "é", "n": [1, 2]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"name": "é", "n": [1, 2]}
    write_bytes(tmp_path / "b", b"\x00\xff")
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o666 & ~mask


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=r"cannot write .*a\.txt: the disk is full"), atomic_path(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []


def test_other_errors_of_the_block_keep_their_type(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "missing").read_bytes()


def test_unwritable_paths_are_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SrkdError, match="is a file, not a folder"):
        write_text(tmp_path / "file" / "a.txt", "y")
    with pytest.raises(SrkdError, match="there is a folder of that name"):
        write_text(tmp_path / "folder", "y")
    with pytest.raises(SrkdError, match="cannot write /proc/"):
        write_text("/proc/a.txt", "y")


def test_printable_path_handles_names_that_are_not_utf8() -> None:
    assert printable_path(Path(os.fsdecode(b"a\xff.png"))) == "a\\xff.png"
    printable_path(Path(os.fsdecode(b"\xff"))).encode()
    assert printable_path("é 東\na\x1b[31m.png") == "é 東\\na\\x1b[31m.png"


def test_interrupt_leaves_no_file(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; from srkd.files.atomic import atomic_path\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "with atomic_path(sys.argv[1]) as path:\n"
        "    path.write_text('half'); print('ready', flush=True); time.sleep(300)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.txt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(200) != 0
    assert os.listdir(tmp_path) == []


def test_files_of_a_killed_process_are_removed_and_those_in_use_stay(tmp_path: Path) -> None:
    code = (
        "import sys, time; from srkd.files.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n"
        "    print('ready', flush=True); time.sleep(300)"
    )
    for end in (signal.SIGKILL, None):
        command = [sys.executable, "-c", code, str(tmp_path / "a" / "x.txt")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        if end is not None:
            child.send_signal(end)
            child.communicate()
    # The second child removed the leftovers of the first; this process keeps what the second has locked.
    write_text(tmp_path / "a" / "y.txt", "whole")
    assert len(list((tmp_path / "a").glob(".part-*"))) == 1
    child.kill()
    child.communicate()
    code = "import sys; from srkd.files.atomic import write_text; write_text(sys.argv[1], '')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a" / "z.txt")], check=True)
    assert sorted(os.listdir(tmp_path / "a")) == ["y.txt", "z.txt"]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_replaces_none(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:  # as on a file system without them

        def refused(*_: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "a.txt"
    with atomic_path(path, new=True) as temporary:
        temporary.write_text("first")
    with pytest.raises(SrkdError, match="another program"), atomic_path(path, new=True) as temporary:
        temporary.write_text("second")
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["a.txt"]
