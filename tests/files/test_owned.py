from __future__ import annotations

from pathlib import Path

import pytest

from srkd.errors import SrkdError
from srkd.files.owned import MARKER, claim, remove_owned, reset_folder


def test_a_folder_of_the_user_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(SrkdError, match=r"thesis\.tex is in it"):
        claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("made", [True, False])
def test_a_new_or_empty_folder_is_claimed_permanently(made: bool, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    if made:
        folder.mkdir()
    claim(folder)
    (folder / "results.json").write_text("{}")
    claim(folder)


def test_only_what_the_marker_lists_is_removed(tmp_path: Path) -> None:
    folder = reset_folder(tmp_path / "own", ["a.png", "b\n\udcff.png"])
    (folder / "a.png").write_text("1")
    assert reset_folder(folder, ["c.png"]) == folder
    assert [path.name for path in folder.iterdir()] == [MARKER]
    (folder / "c.png").write_text("1")
    (folder / "mine.png").write_text("1")
    with pytest.raises(SrkdError, match=r"mine\.png: srkd did not write this"):
        reset_folder(folder, [])
    assert (folder / "c.png").exists()


@pytest.mark.parametrize("text", ['{"files": ["../mine.png", "..", "", 3]}', "no JSON", "[]", '{"files": 1}'])
def test_a_marker_names_only_files_beside_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_text("1")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / MARKER).write_text(text)
    reset_folder(tmp_path / "own", [])
    assert (tmp_path / "mine.png").exists()


def test_remove_owned_leaves_what_srkd_did_not_write(tmp_path: Path) -> None:
    folder = reset_folder(tmp_path / "work", ["a.bin", "b.bin"])
    for name in ("a.bin", "mine.txt"):
        (folder / name).write_text(name)
    remove_owned(folder)
    assert not (folder / "a.bin").exists() and (folder / "mine.txt").read_text() == "mine.txt"
    (folder / "mine.txt").unlink()
    remove_owned(folder)
    assert not folder.exists()
