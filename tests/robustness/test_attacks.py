"""Malicious files, links and names on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from robustness.cases import TINY
from srkd import networks
from srkd.cli.main import main
from srkd.images.read import ImageData, write_image
from srkd.networks import zoo
from srkd.training.checkpoint import save_weights
from support import textured

OWN = "from torch import nn\nopen('sprung', 'w').close()\nclass Net(nn.Module):\n    pass\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with photo.png, on sys.path as with `python -m srkd`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    write_image(tmp_path / "photo.png", ImageData(textured(0, 24, 24)))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rejected(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) in (1, 2)
    output = capsys.readouterr().err.splitlines()
    assert output[-1].startswith("srkd: ") and all(line.isprintable() for line in output)
    return output[-1]


def checkpoint(path: Path, spec: Any = TINY, scale: int = 2, factor: float = 1.0) -> str:
    state = {key: value * factor for key, value in networks.build(TINY).state_dict().items()}
    save_weights(path, state, {"network": spec, "scale": scale})
    return str(path)


@pytest.mark.parametrize("command", ["upscale", "evaluate", "export", "prune", "compress"])
def test_a_module_beside_a_checkpoint_is_not_imported(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "evilmod.py").write_text(OWN)
    model = checkpoint(folder / "evil.safetensors", {"type": "evilmod:Net"})
    arguments = {
        "upscale": ["photo.png", "-o", "out", "-m", model],
        "prune": [model, "--keep", "0.5", "-o", "x.safetensors"],
        "evaluate": ["--model", model, "--data", "."],
        "export": [model, "-o", "out"],
        "compress": [model, "--data", ".", "--max-mb", "1", "-o", "out"],
    }[command]
    if command == "compress":
        for number in range(4):
            rng = np.random.default_rng(number)
            write_image(folder / f"{number}.png", ImageData(rng.integers(0, 255, (256, 256, 3), np.uint8)))
    assert "--trust-code" in rejected([command, *arguments], capsys)
    assert not (folder / "sprung").exists() and "evilmod" not in sys.modules


def test_a_module_is_imported_where_it_is_trusted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "trustedmod.py").write_text(OWN)
    model = checkpoint(folder / "mine.safetensors", {"type": "trustedmod:Net"})
    rejected(["upscale", "photo.png", "-o", "out", "-m", model, "--trust-code"], capsys)  # its weights do not fit
    assert (folder / "sprung").exists()


def test_demo_leaves_the_users_folders(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("photographs", "control", "distilled"):
        (folder / "mine" / name).mkdir(parents=True)
        (folder / "mine" / name / "wedding.jpg").write_bytes(b"precious")
    before = contents(folder)
    assert "not empty and was not created by srkd" in rejected(["demo", "-o", "mine", "--quick"], capsys)
    assert contents(folder) == before


def test_a_lock_that_is_a_link(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "precious").write_text("precious")
    (folder / "mine").mkdir()
    for number in range(4):
        write_image(folder / "mine" / f"{number}.png", ImageData(textured(number, 100, 100)))
    (folder / "out" / "work").mkdir(parents=True)
    (folder / "out" / ".srkd").write_text("{}")
    (folder / "out" / "work" / ".lock").symlink_to(folder / "precious")
    arguments = ["compress", "edsr_16x8_x2_cc0", "--data", "mine", "--max-mb", "1", "-o", "out"]
    assert "symbolic link" in rejected(arguments, capsys)
    assert (folder / "precious").read_text() == "precious"


@pytest.mark.parametrize("name", [".", "..", "../x", "", ".hidden", "a\x1b[2Jb"])
def test_a_recipe_by_a_name_that_is_no_folder(
    name: str, recipe: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "experiments" / "older").mkdir(parents=True)
    (folder / "recipe.yml").write_text("mine: 1\n")
    (folder / "r.yml").write_text(yaml.safe_dump({**recipe, "name": name}))
    before = contents(folder)
    assert "name" in rejected(["train", "-opt", "r.yml"], capsys)
    assert contents(folder) == before and (folder / "experiments" / "older").is_dir()


def test_a_recipe_by_the_name_of_the_users_folder(
    recipe: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "photos").mkdir()
    (folder / "photos" / "a.txt").write_text("mine")
    (folder / "r.yml").write_text(yaml.safe_dump({**recipe, "name": "photos"}))
    assert "is not a run" in rejected(["train", "-opt", "r.yml", "--output", "."], capsys)
    assert (folder / "photos" / "a.txt").read_text() == "mine"


def test_a_mistake_leaves_an_older_run(
    recipe: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "r.yml").write_text(yaml.safe_dump(recipe))
    assert main(["train", "-opt", "r.yml"]) == 0
    before = contents(folder)
    assert "EDRS" in rejected(["train", "-opt", "r.yml", "--set", "network_g.type=EDRS"], capsys)
    assert contents(folder) == before


def test_a_suffix_that_leaves_the_output_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = checkpoint(folder / "tiny.safetensors")
    before = contents(folder)
    assert "suffix" in rejected(["upscale", "photo.png", "-o", "o/p", "-m", model, "--suffix", "/../../x"], capsys)
    assert contents(folder) == before


def test_a_file_by_a_zoo_models_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = zoo.trained()[0]
    checkpoint(folder / name)
    assert main(["evaluate", "--model", name, "--data", str(folder), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["models"]
    assert row["parameters"] != sum(p.numel() for p in networks.build(TINY).parameters())


@pytest.mark.parametrize(("factor", "message"), [(float("nan"), "NaN"), (float("inf"), "NaN"), (1e30, "not finite")])
@pytest.mark.parametrize("command", ["upscale", "evaluate"])
def test_weights_that_make_black_images(
    command: str, factor: float, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = checkpoint(folder / "bad.safetensors", factor=factor)
    arguments = ["photo.png", "-o", "out", "-m", model] if command == "upscale" else ["--model", model, "--data", "."]
    assert message in rejected([command, *arguments], capsys)
    assert not (folder / "out").exists()


def test_a_scale_that_is_not_the_networks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = checkpoint(folder / "x.safetensors", scale=4)
    output = rejected(["upscale", "photo.png", "-o", "out", "-m", model], capsys)
    assert "x4" in output or "by 4" in output


def test_integers_in_the_place_of_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {key: value.to(torch.int32) for key, value in networks.build(TINY).state_dict().items()}
    save_weights(folder / "x.safetensors", state, {"network": TINY, "scale": 2})
    assert "int32" in rejected(["upscale", "photo.png", "-o", "out", "-m", "x.safetensors"], capsys)
