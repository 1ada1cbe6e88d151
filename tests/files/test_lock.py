from __future__ import annotations

from pathlib import Path

import pytest

from srkd.errors import SrkdError
from srkd.files.lock import locked, locked_itself


def test_a_link_as_lock_file_raises_and_keeps_its_target(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(SrkdError, match="symbolic link"), locked(tmp_path / "out"):
        pass
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_an_existing_lock_file_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("precious")
    with locked(tmp_path) as free:
        assert free
    assert (tmp_path / ".lock").read_text() == "precious"


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), locked(tmp_path, wait=False) as free, locked_itself(tmp_path) as itself:
        assert not free and itself
        with locked_itself(tmp_path) as twice:
            assert not twice
    with locked(tmp_path, wait=False) as free:
        assert free
