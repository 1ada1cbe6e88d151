from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from srkd.errors import SrkdError
from srkd.images.read import ImageData, read_image, write_image
from srkd.inference.files import Options, preview, upscale_files
from srkd.inference.jobs import Job
from srkd.inference.model import Model
from srkd.inference.wrap import upscale_wrapped
from srkd.networks import build
from support import textured


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    return Model(build({"type": "EDSR", "num_feat": 4, "num_block": 2, "upscale": 2}).eval(), 2)


def wrapped(model: Model, pixels: np.ndarray, tile: int | None = None, outscale: float | None = None) -> np.ndarray:
    return np.concatenate(list(upscale_wrapped(model, pixels, tile, outscale=outscale)))


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("outscale", [None, 1.5])
def test_tiles_of_the_result_are_the_result_of_the_tiles(
    model: Model, tile: int | None, outscale: float | None
) -> None:
    texture = textured(0, 12, 20)
    for pixels in (texture, texture[..., :1], np.dstack([texture, texture[..., :1]])):
        one = wrapped(model, pixels, tile, outscale)
        four = wrapped(model, np.tile(pixels, (2, 2, 1)), tile, outscale)
        assert four.shape == (2 * one.shape[0], 2 * one.shape[1], pixels.shape[2])
        assert np.abs(four.astype(int) - np.tile(one, (2, 2, 1))).max() <= 1
    plain = model.upscale(texture, tile, outscale=outscale)
    assert np.abs(plain[0].astype(int) - wrapped(model, texture, tile, outscale)[0]).max() > 1


def test_files(tmp_path: Path, model: Model) -> None:
    pixels = textured(0, 12, 20)
    write_image(tmp_path / "a.png", ImageData(pixels))
    job = Job(tmp_path / "a.png", tmp_path / "b.png", "png")
    assert upscale_files(model, [job], Options(wrap=True), print, lambda n: None) == 1
    np.testing.assert_array_equal(read_image(job.target).pixels, wrapped(model, pixels))


def test_a_size_is_whole_whatever_the_rounding_of_the_factor(model: Model) -> None:
    texture = textured(0, 10, 100)  # 100 * 1.1 is 110.00000000000001
    one, two = (wrapped(model, pixels, outscale=1.1) for pixels in (texture, np.tile(texture, (1, 2, 1))))
    assert one.shape == (11, 110, 3)
    assert np.abs(two.astype(int) - np.tile(one, (1, 2, 1))).max() <= 1


def test_a_size_that_is_not_whole_raises(model: Model) -> None:
    with pytest.raises(SrkdError, match=r"5x3 times 1.5 is not a whole size"):
        wrapped(model, textured(0, 3, 5), outscale=1.5)


def test_a_dry_run_finds_a_size_that_is_not_whole(tmp_path: Path) -> None:
    for name, width in (("even", 6), ("odd", 5)):
        write_image(tmp_path / f"{name}.png", ImageData(textured(0, 4, width)))
    jobs = [Job(path, tmp_path / f"big_{path.name}", "png") for path in sorted(tmp_path.glob("*.png"))]
    even, odd = preview(jobs, 1.5, Options(wrap=True))
    assert even.status == "planned" and odd.status == "failed" and "5x4 times 1.5 is not a whole size" in str(odd.error)
    assert [outcome.status for outcome in preview(jobs, 1.5, Options())] == ["planned", "planned"]
