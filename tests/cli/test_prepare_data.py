from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from srkd.cli.main import main
from srkd.data.store import open_or_build
from srkd.images.read import ImageData, write_image

TOOL = Path(__file__).parents[2] / "tools" / "prepare_data.py"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SRKD_DATA", raising=False)
    return tmp_path / "cache"


def images(folder: Path, side: int, suffix: str = "") -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        write_image(folder / f"{number}{suffix}.png", ImageData(pixels))


def test_a_folder_becomes_the_store_that_training_opens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images(tmp_path / "in", 9)
    assert main(["prepare_data", str(tmp_path / "in"), "--scale", "2"]) == 0
    printed = capsys.readouterr().out
    store = open_or_build(sorted((tmp_path / "in").iterdir()), 2)
    assert str(store.folder) in printed
    assert "3 images, x2" in printed
    assert len(list((tmp_path / "cache" / "stores").iterdir())) == 1


def test_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images(tmp_path / "hr", 8)
    images(tmp_path / "lr", 4, "x2")
    assert main(["prepare_data", str(tmp_path / "hr"), "--lr", str(tmp_path / "lr"), "-s", "2"]) == 0
    assert "read from files" in capsys.readouterr().out
    assert main(["prepare_data", str(tmp_path / "hr"), "--lr", str(tmp_path / "lr"), "-s", "2", "--exclude", "1"]) == 0
    assert "2 images" in capsys.readouterr().out
    assert main(["prepare_data", str(tmp_path / "hr"), "--lr", str(tmp_path / "lr"), "-s", "4"]) == 1
    assert "no LR image of its name" in capsys.readouterr().err


def test_images_to_exclude_are_in_one_of_the_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images(tmp_path / "a", 8)
    images(tmp_path / "b", 8, "b")
    both = ["prepare_data", str(tmp_path / "a"), str(tmp_path / "b")]
    assert main([*both, "--exclude", "1", "2b"]) == 0
    assert capsys.readouterr().out.count("2 images") == 2
    assert main([*both, "--exclude", "1", "3b"]) == 1
    found = capsys.readouterr()
    assert found.err.startswith('srkd: --exclude: "3b" matches no image') and not found.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "needs a folder or a data set"),
        (["Set55"], 'Set55: no such folder, and no data set of that name (did you mean "Set5"?)'),
        (["{tmp}", "--lr", "{tmp}"], "--lr needs --scale"),
        (["{tmp}"], "no images"),
        (["{tmp}", "--pairs", __file__], "cannot be a folder, since"),
        (["Set5", "--source", "{tmp}"], "Set5/test: no images in"),
        (["Manga109"], "must be downloaded manually"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["prepare_data", *(a.format_map({"tmp": str(tmp_path)}) for a in arguments)]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_the_tool_lists_what_it_knows(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), "--list"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "BSDS500/validation: 20 images, validation" in done.stdout
    assert "Set5/test: 5 images, test" in done.stdout
