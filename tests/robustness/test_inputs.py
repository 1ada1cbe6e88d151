"""Inputs that vanish, change or never end while they are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srkd.cli.main import main
from srkd.data import store
from srkd.data.patches import Subset
from srkd.errors import PartialFailure, SrkdError
from srkd.images.read import ImageData, read_image, write_image
from srkd.inference.files import Options, upscale_files
from srkd.inference.jobs import plan_jobs
from srkd.inference.model import Model
from srkd.training.checkpoint import load_weights
from srkd.training.run import Run
from support import textured


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "in" / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        write_image(path, ImageData(textured(number, 12, 14)))
    return paths


def after_reading(monkeypatch: pytest.MonkeyPatch, victim: Path, change: Callable[[Path], Any]) -> None:
    """Apply `change` to a file as soon as its pixels were read for a store."""

    def reading(path: Path) -> ImageData:
        image = read_image(path)
        if Path(path) == victim:
            change(victim)
        return image

    monkeypatch.setattr(store, "read_image", reading)


def test_an_image_that_changes_while_a_store_is_built(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_reading(monkeypatch, images[2], lambda path: write_image(path, ImageData(textured(9, 12, 14))))
    with pytest.raises(SrkdError, match=r"1 of 5 images cannot be used: .*2\.png: changed while being read"):
        store.build_store(images, tmp_path / "store", 2)
    assert os.listdir(tmp_path / "store") == []
    # The next build sees the changed file.
    monkeypatch.undo()
    np.testing.assert_array_equal(store.build_store(images, tmp_path / "store", 2).hr(2), textured(9, 12, 14))


def test_an_image_that_vanishes_before_it_is_read(images: list[Path], tmp_path: Path) -> None:
    images[1].unlink()
    with pytest.raises(SrkdError, match=r"1 of 5 images cannot be used: .*1\.png: No such file"):
        store.build_store(images, tmp_path / "store", 2)


def test_images_that_vanish_or_are_cut_short_while_others_are_upscaled(
    images: list[Path], tiny: Path, tmp_path: Path
) -> None:
    jobs = plan_jobs([str(tmp_path / "in")], tmp_path / "out")
    output: list[str] = []

    def done(number: int) -> None:
        if number == 1:
            images[3].unlink()
            images[4].write_bytes(images[4].read_bytes()[:100])

    with pytest.raises(PartialFailure, match="2 of 5 images failed, 3 were written"):
        upscale_files(Model.load(str(tiny)), jobs, Options(), output.append, done)
    assert [line.split(": ")[1] for line in output] == [str(images[3]), str(images[4])]
    assert sorted(os.listdir(tmp_path / "out")) == ["0.png", "1.png", "2.png"]


def test_training_continues_if_its_images_vanish(
    recipe: dict[str, Any], images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe["datasets"] = {"train": {"dataroot_gt": str(tmp_path / "in"), "gt_size": 8, "batch_size_per_gpu": 2}}
    Run(recipe | {"name": "whole"}, tmp_path, quiet=True).train()
    cut, batch = Subset.hr, {"left": 5}

    def reading(self: Subset, number: int) -> np.ndarray:
        batch["left"] -= 1
        if batch["left"] == 0:
            for path in images:
                path.write_bytes(b"")
                path.unlink()
        return cut(self, number)

    monkeypatch.setattr(Subset, "hr", reading)
    Run(recipe | {"name": "cut"}, tmp_path, quiet=True).train()
    assert not images[0].exists()
    files = [tmp_path / name / "models" / "net_g_latest.safetensors" for name in ("whole", "cut")]
    whole, other = (load_weights(path)[0] for path in files)
    assert all(bool((whole[key] == other[key]).all()) for key in whole)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_endless_inputs_are_rejected(kind: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in" / "endless.png"
    path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    assert main(["upscale", str(path.parent), "-o", str(tmp_path / "out"), "-m", str(tiny)]) == 1
    assert "a pipe or a device and not a file" in capsys.readouterr().err
    assert main(["prepare_data", str(path.parent)]) == 1
    assert "endless.png: not a file" in capsys.readouterr().err
