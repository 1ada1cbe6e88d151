"""The notebooks of examples/: their cells run in order, in one process, without a network; no output is stored."""

from __future__ import annotations

import json
import socket
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def execute(path: Path) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells(path, "code"), 1):
        exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own, without a network."""

    def connect(*_: Any) -> NoReturn:
        raise AssertionError("a notebook uses the network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["distil", "upscale_and_evaluate"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_is_stored_but_text_and_code(path: Path) -> None:
    assert cells(path, "markdown")
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None


def test_upscale_and_evaluate() -> None:
    names = execute(NOTEBOOKS[1])
    bicubic, ours = names["rows"]
    assert ours["PSNR (dB)"] > bicubic["PSNR (dB)"] + 1 and ours["SSIM"] > bicubic["SSIM"]
    assert all(version[names["detail"]].shape == (100, 120, 3) for version in names["versions"])


def test_distil() -> None:
    names = execute(NOTEBOOKS[0])
    assert names["values"][-1] < 0.8 * names["values"][0]
    assert names["result"]["finished"] and names["result"]["metrics"]["psnr_held_out"] > 24
    assert names["trained"].scale == 2 and isinstance(names["trained"].upscale(Image.new("RGB", (9, 8))).shape, tuple)
