from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srkd.images.read import ImageData, write_image
from srkd.integrations import basicsr
from srkd.sr.recipe import SRRecipe
from srkd.sr.validation import Validator
from srkd.training.recipe import validate
from support import textured


class Nearest(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_basicsr_metric_names_give_basicsrs_values(recipe: dict[str, Any], tmp_path: Path) -> None:
    write_image(tmp_path / "hr" / "p.png", ImageData(textured(0, 220, 240)))
    recipe["datasets"]["val"] = {"name": "one", "dataroot_gt": str(tmp_path / "hr")}
    recipe["val"] = {
        "save_img": True,
        "metrics": {
            "psnr": {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": False},
            "ssim": {"type": "calculate_ssim"},
            "niqe": {"type": "calculate_niqe", "crop_border": 4, "better": "lower"},
        },
    }
    checked, _ = validate(SRRecipe, recipe)
    scores = Validator(checked, active=True).score(Nearest(), 7, tmp_path)
    from srkd.images.read import read_rgb

    output, hr = read_rgb(tmp_path / "one" / "p_7.png"), textured(0, 220, 240)
    assert output.shape == hr.shape and not np.array_equal(output, hr)
    assert scores["psnr_one"] == pytest.approx(basicsr.psnr(output, hr, 4, y_channel=False), abs=1e-4)
    assert scores["ssim_one"] == pytest.approx(basicsr.ssim(output, hr, 2, y_channel=True), abs=1e-4)
    assert scores["niqe_one"] == pytest.approx(basicsr.niqe(output, 4))


def test_every_image_is_saved(recipe: dict[str, Any], tmp_path: Path) -> None:
    """Also those whose names differ after a dot, or in their format only."""
    names = ["p.v1.png", "p.v2.png", "q.png", "q.bmp"]
    for name in names:
        write_image(tmp_path / "hr" / name, ImageData(textured(0, 40, 40)))
    recipe["datasets"]["val"] = {"name": "set", "dataroot_gt": str(tmp_path / "hr")}
    recipe["val"] = {"save_img": True, "metrics": {"psnr": {"type": "calculate_psnr"}}}
    Validator(validate(SRRecipe, recipe)[0], active=True).score(Nearest(), 7, tmp_path / "out")
    assert len(list((tmp_path / "out" / "set").iterdir())) == len(names)


def test_inactive_processes_return_no_scores(recipe: dict[str, Any], tmp_path: Path) -> None:
    checked, _ = validate(SRRecipe, recipe)
    assert Validator(checked, active=False).score(Nearest(), 1, tmp_path) == {}
