from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.inference.beside import plan_beside
from srkd.inference.files import Options, upscale_files
from srkd.inference.model import Model


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def targets(inputs: list[Path | str], below: Path, suffix: str = "_x2", **options: bool) -> list[str]:
    return [str(job.target.relative_to(below)) for job in plan_beside([str(i) for i in inputs], suffix, **options)]


def test_two_inputs_never_share_a_name(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "a.tga", tmp_path / "b.JPG", tmp_path / "raw")
    inputs: list[Path | str] = [tmp_path / "*", tmp_path / "raw", tmp_path / "a.png"]
    assert targets(inputs, tmp_path) == ["a_x2.png", "a_x2_2.png", "b_x2.JPG", "raw_x2.png"]


def test_an_input_is_not_overwritten(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "a_x2.png")
    (tmp_path / "a_x2_2.png").symlink_to(tmp_path / "nowhere")
    assert targets([tmp_path / "a.png", tmp_path / "a_x2.png"], tmp_path) == ["a_x2_3.png", "a_x2_x2.png"]
    assert targets([tmp_path / "a.png", tmp_path / "a_x2.png"], tmp_path, reuse=True) == ["a_x2.png"]


def test_a_result_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """Two commands chose the same free name."""
    write_image(tmp_path / "a.png", ImageData(np.full((8, 8, 3), 9, np.uint8)))
    first, second = (plan_beside([str(tmp_path / "a.png")], "_x1") for _ in range(2))
    model = Model(nn.Identity(), 1)
    assert upscale_files(model, first, Options(), print, lambda n: None) == 1
    before = (tmp_path / "a_x1.png").stat()
    with pytest.raises(SrkdError, match=r"a_x1\.png: was written by another program meanwhile; it stays"):
        upscale_files(model, second, Options(), print, lambda n: None)
    assert (tmp_path / "a_x1.png").stat() == before and len(list(tmp_path.iterdir())) == 2


def test_folders_and_files(tmp_path: Path) -> None:
    touch(tmp_path / "in.d" / "a.png", tmp_path / "in.d" / "sub" / "b.png", tmp_path / "c.png")
    inputs: list[Path | str] = [tmp_path / "in.d", tmp_path / "c.png"]
    assert targets(inputs, tmp_path) == ["c_x2.png", "in.d_x2/a.png"]
    (tmp_path / "in.d_x2").mkdir()
    assert targets(inputs, tmp_path, recursive=True) == ["c_x2.png", "in.d_x2_2/a.png", "in.d_x2_2/sub/b.png"]
    assert targets(inputs, tmp_path, reuse=True) == ["c_x2.png", "in.d_x2/a.png"]


def test_what_has_no_place_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.png")
    with pytest.raises(SrkdError, match="nothing can be written beside this folder; name one with -o"):
        plan_beside([tmp_path.anchor], "_x2")
    with pytest.raises(SrkdError, match="the suffix"):
        plan_beside([str(tmp_path / "a.png")], "/../x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SrkdError, match="several processes need the name of one output folder"):
        plan_beside([str(tmp_path / "a.png")], "_x2")
