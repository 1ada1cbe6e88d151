"""The dry run: a step that is undone, validation images that are most likely to fail, and one-line errors."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.training.recipe import override
from srkd.training.run import Run


class Eights(nn.Module):
    """Doubles images whose sides are multiples of 8, as the training patches' are."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        a = self.a(x)
        low = nn.functional.interpolate(nn.functional.max_pool2d(a, 8), scale_factor=8)
        return nn.functional.pixel_shuffle(self.b(torch.cat([a, low], 1)), 2)


class Two(Eights):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), None


class Small(Eights):
    def forward(self, x: Tensor) -> Any:
        assert x.shape[-2] <= 24
        return super().forward(x)


class FailsBackward(Eights):
    def forward(self, x: Tensor) -> Any:
        return _Fails.apply(super().forward(x))


class _Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise ArithmeticError("backward failed")


def own(name: str) -> str:
    return f"network_g={{type: 'training.test_dry_run:{name}'}}"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def check(recipe: dict[str, Any], root: Path, *settings: str) -> list[Any]:
    return Run(override(recipe, settings), root, quiet=True).dry_run()


def images(folder: Path, *sizes: tuple[int, int]) -> Path:
    for height, width in sizes:
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        write_image(folder / f"{height}x{width}.png", ImageData(pixels))
    return folder


def test_the_tried_step_is_undone(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["train"] |= {"ema_decay": 0.9, "clip_grad_norm": 1.0, "accumulate": 2}
    (tried,) = check(recipe, tmp_path)
    run = Run(copy.deepcopy(recipe), tmp_path, quiet=True)
    (fresh,) = run.set_up()
    for key, value in fresh.state_dict().items():
        assert torch.equal(value, tried.state_dict()[key])
    assert not tried.optimisers["g"].state_dict()["state"]
    assert tried.optimisers["g"].param_groups[0]["lr"] == fresh.optimisers["g"].param_groups[0]["lr"]
    assert all(p.grad is None for p in tried.network_g.parameters()) and tried.network_g.training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([own("Two")], "Two returns a tuple, not one tensor"),
        (["network_g.num_in_ch=1", "network_g.num_out_ch=1"], r"network_g on a batch of lr \(4, 3, 8, 8\): R"),
        ([own("FailsBackward")], "ArithmeticError: backward failed"),
    ],
)
def test_networks_that_cannot_be_trained_raise_a_one_line_error(
    recipe: dict[str, Any], tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(SrkdError, match=message) as error:
        check(recipe, tmp_path, "datasets.val.dataroot_gt=" + str(images(tmp_path / "v", (32, 32))), *settings)
    assert "\n" not in str(error.value)


def test_an_error_in_user_code_has_file_and_line(recipe: dict[str, Any], tmp_path: Path) -> None:
    folder = images(tmp_path / "v", (32, 48), (52, 48))
    with pytest.raises(SrkdError, match=r'set "photos": 52x48 \(LR 24x26\): .*\(test_dry_run\.py, line \d+\)'):
        check(recipe, tmp_path, own("Small"), f"datasets.val.dataroot_gt={folder}")
    check(recipe, tmp_path, own("Eights"), f"datasets.val.dataroot_gt={folder}")  # padded to a supported size
    (folder / "52x48.png").unlink()
    check(recipe, tmp_path, own("Small"), f"datasets.val.dataroot_gt={folder}")


def test_independent_mistakes_are_listed_at_once(recipe: dict[str, Any], tmp_path: Path) -> None:
    settings = [
        "network_g.type=EDRS",
        "datasets.train.dataroot_gt=/no/such/folder",
        "train.losses=[{type: L1Los}]",
        "val.metrics.psnr.type=calculate_psnrr",
    ]
    listed = ".*; .*".join(["unknown network", "no such folder", "unknown metric", "unknown loss"])
    with pytest.raises(SrkdError, match=listed) as error:
        check(recipe, tmp_path, *settings)
    assert "\n" not in str(error.value)
    settings = [
        "train.losses=[{type: L1Loss}, {type: masked_kl, target: gt}]",
        "val.best=psnr_Set5",
        "train.optim_g.momentumm=1",
        f"datasets.val.dataroot_gt={images(tmp_path / 'v', (14, 90))}",
    ]
    listed = ".*; .*".join(["masked_kl", "unknown score in val.best", 'validation set "photos"', "optimiser Adam"])
    with pytest.raises(SrkdError, match=listed):
        check(recipe, tmp_path, *settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "14x90.*SSIM needs at least 11x11"),
        (["val.metrics={psnr: {type: calculate_psnr, crop_border: 7}}"], "too small for a border of 7"),
        (["val.metrics={niqe: {type: calculate_niqe}}"], "NIQE needs"),
    ],
)
def test_images_too_small_for_a_metric_raise_before_training(
    recipe: dict[str, Any], tmp_path: Path, settings: list[str], message: str
) -> None:
    folder = images(tmp_path / "v", (64, 64), (14, 90))
    for attempt in (Run.dry_run, Run.train):
        with pytest.raises(SrkdError, match=message):
            attempt(Run(override(recipe, [f"datasets.val.dataroot_gt={folder}", *settings]), tmp_path, quiet=True))
    assert not list(tmp_path.glob("tiny/training_states/*"))
