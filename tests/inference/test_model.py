from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.images.resize import RowResizer, imresize
from srkd.inference import backends, tiling
from srkd.inference.model import Model, output_size
from srkd.inference.views import eight_views
from srkd.metrics.evaluation import open_model
from srkd.networks import build
from srkd.networks.sides import Sides
from srkd.training.checkpoint import save_weights
from support import replicating_edsr, textured

RNG = np.random.default_rng(0)


class Bilinear(nn.Module):
    """Mixes neighbours, so that hidden colours would show if they got in."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear")


def identity(scale: int = 1) -> Model:
    return Model(nn.Upsample(scale_factor=scale), scale)


def noise(channels: int, dtype: type = np.uint8, height: int = 20, width: int = 14) -> np.ndarray:
    if dtype is np.float32:
        return RNG.random((height, width, channels), np.float32)
    return RNG.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


@pytest.mark.parametrize("tile", [0, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_identity_gives_back_every_kind_of_image(channels: int, dtype: type, tile: int) -> None:
    image = noise(channels, dtype)
    if channels in (2, 4):
        image[..., -1] = np.maximum(image[..., -1], image.dtype.type(1) / 255 if dtype is np.float32 else 1)
    result = identity().upscale(image, tile=tile)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, image, atol=1e-6)


def test_dimensions_are_kept() -> None:
    assert identity(3).upscale(noise(1)[..., 0]).shape == (60, 42)
    assert identity(3).upscale(noise(1)).shape == (60, 42, 1)
    assert identity(2).upscale(noise(3, height=1, width=1)).shape == (2, 2, 3)


def reference(network: nn.Module, image: np.ndarray, self_ensemble: bool = False) -> np.ndarray:
    """uint8 (H, W, 3) through a network, written out independently of `Model`."""
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    views = list(eight_views(x)) if self_ensemble else [(x, lambda y: y)]
    with torch.inference_mode():
        y = torch.stack([undo(network(view)) for view, undo in views]).mean(0)
    return np.rint(y[0].permute(1, 2, 0).double().numpy().clip(0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("ensemble", [False, True])
def test_upscaling_evaluation_and_the_network_agree(tmp_path: Path, ensemble: bool) -> None:
    torch.manual_seed(0)
    spec = {"type": "EDSR", "num_feat": 8, "num_block": 2, "upscale": 2}
    network, image = build(spec).eval(), noise(3)
    write_image(tmp_path / "a.png", ImageData(image))
    save_weights(tmp_path / "net.safetensors", network.state_dict(), {"network": spec, "scale": 2})
    model, evaluated = Model(network, 2), open_model(str(tmp_path / "net.safetensors"), None)
    expected = model(image[None], ensemble)[0]
    for given in (image, tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(model.upscale(given, self_ensemble=ensemble), expected)
    assert np.abs(evaluated(image[None], ensemble)[0].astype(int) - expected).max() <= 1  # it may be on a GPU
    assert np.abs(reference(network, image, ensemble).astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(model(np.stack([image, image[::-1]]))[0], model(image[None])[0])


def test_a_model_prints_as_one_line(tmp_path: Path) -> None:
    spec = {"type": "EDSR", "num_feat": 8, "num_block": 2, "upscale": 2}
    model = Model(build(spec).eval(), 2, "small", {"network": spec})
    assert repr(model) == str(model) == f"<Model small: EDSR, x2, RGB, {model.parameters:,} parameters, torch fp32>"
    assert repr(backends.open_engine(model, "torch", "bf16")).endswith("parameters, torch bf16>")
    assert repr(Model(nn.Identity(), 1)) == "<Model without a name: Identity, x1, RGB, parameters unknown, torch fp32>"


def test_a_model_of_an_exported_file_upscales_8_bits_and_names_what_it_lacks() -> None:
    whole = Model(replicating_edsr(), 2, "tiny")
    file = Model.of_engine(backends.torch_engine(whole, "fp32"), whole.facts())
    image = textured(0, 20, 31)
    np.testing.assert_array_equal(file.upscale(image), image.repeat(2, 0).repeat(2, 1))
    assert (file.scale, file.parameters, file.backend) == (2, whole.parameters, ("torch", "fp32"))
    for arguments in ({"image": image / 255}, {"image": image, "self_ensemble": True}):
        with pytest.raises(SrkdError, match=r"takes 8-bit images only.*, or load the checkpoint"):
            file.upscale(**arguments)
    with pytest.raises(SrkdError, match="tiny is an exported file that does not state how to tile it: export it again"):
        file.upscale(image, tile=8)
    with pytest.raises(SrkdError, match="tiny is an exported file without its network: load the checkpoint"):
        file.network.eval()
    assert "RGB" in repr(file) and copy.deepcopy(file.network)


def test_an_output_of_another_size_is_an_error() -> None:
    with pytest.raises(SrkdError, match=r"the network returns \(1, 3, 8, 8\) for \(1, 3, 8, 8\) at x2"):
        Model(nn.Identity(), 2).run(torch.rand(1, 3, 8, 8))
    with pytest.raises(SrkdError, match="returns a tuple, not one tensor"):
        Model(nn.MaxPool2d(1, return_indices=True), 1)(noise(3)[None])


def test_the_image_that_was_passed_is_not_changed() -> None:
    class Overwrites(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(0)

    image = np.full((8, 8, 3), 1.2, np.float32)
    assert not Model(Overwrites(), 1).upscale(image).any()
    assert (image == np.float32(1.2)).all()


def test_depth_is_told_by_dtype() -> None:
    dark = noise(3, np.uint16) % 200
    np.testing.assert_array_equal(identity().upscale(dark), dark)


def test_hidden_colours_do_not_bleed() -> None:
    image = np.zeros((16, 16, 4), np.uint8)
    image[:, 8:] = (200, 100, 50, 255)
    image[:, :8, :3] = 255  # what some program left under full transparency
    result = Model(Bilinear(), 2).upscale(image)
    np.testing.assert_array_equal(result[..., :3], np.broadcast_to(np.array([200, 100, 50], np.uint8), (32, 32, 3)))
    assert result[0, :, 3].tolist() == [0] * 15 + [64, 191] + [255] * 15
    empty = np.zeros((8, 8, 4), np.uint8)
    assert not Model(Bilinear(), 2).upscale(empty)[..., 3].any()


def test_half_transparent_colours_stay() -> None:
    image = noise(4)
    image[..., 3] = np.where(image[..., 3] < 128, 1, 254)
    np.testing.assert_array_equal(identity().upscale(image), image)


def test_constant_alpha_costs_nothing_and_stays() -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(x.shape)
            return x

    image = noise(4)
    image[..., 3] = 77
    np.testing.assert_array_equal(Model(Counting(), 1).upscale(image, tile=0), image)
    assert len(calls) == 1


@pytest.mark.parametrize("factor", [1.0, 1.5, 0.7, 3.0, 2.0])
@pytest.mark.parametrize("tile", [0, 8])
def test_outscale_resizes_after_the_network(factor: float, tile: int) -> None:
    image = noise(4, np.uint16)
    image[..., 3] |= 1 << 12  # nothing that cannot be seen
    result = identity(2).upscale(image, tile=tile, outscale=factor)
    doubled = image.repeat(2, 0).repeat(2, 1).astype(np.float64) / 65535
    expected = imresize(doubled, output_size(20, 14, factor))
    assert result.shape == (round(20 * factor), round(14 * factor), 4)
    np.testing.assert_allclose(result / 65535, np.clip(expected, 0, 1), atol=2e-5)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 20), (90, 61), (40, 9)])
@pytest.mark.parametrize("block", [1, 3, 40])
def test_rows_resized_in_blocks_equal_the_whole(size: tuple[int, int], block: int) -> None:
    image = RNG.random((40, 30, 3), np.float32)
    resizer = RowResizer((40, 30), size)
    rows = np.concatenate([resizer.push(image[i : i + block]) for i in range(0, 40, block)])
    np.testing.assert_allclose(rows, imresize(image.astype(np.float64), size), atol=1e-5)


def test_what_is_no_image_or_option() -> None:
    with pytest.raises(SrkdError, match=r"uint8, uint16, or float32 or float64 in .*; got int64"):
        identity().upscale(np.zeros((4, 4, 3), np.int64))
    with pytest.raises(SrkdError, match=r"got shape \(4, 4, 5\)"):
        identity().upscale(np.zeros((4, 4, 5), np.uint8))
    with pytest.raises(SrkdError, match=r"got shape \(0, 4, 3\)"):
        identity().upscale(np.zeros((0, 4, 3), np.uint8))
    for factor in (0, -1, float("nan"), float("inf")):
        with pytest.raises(SrkdError, match="the scale must be a positive number"):
            identity().upscale(noise(3), outscale=factor)
    with pytest.raises(SrkdError, match=r"no such file|No such file"):
        identity().upscale("missing.png")


def test_loading(tmp_path: Path) -> None:
    with pytest.raises(SrkdError):
        Model.load("no_such_model")


@pytest.mark.parametrize("factor", [255, 65535, -1])
def test_float_images_of_another_range_are_refused(factor: float) -> None:
    image = (textured(0, 8, 8) / 255 * factor).astype(np.float32)
    with pytest.raises(SrkdError, match="divide values of 0 to 255 by 255"):
        Model(replicating_edsr(), 2).upscale(image)


def test_float_images_with_nan_are_refused() -> None:
    image = np.full((8, 8, 3), np.nan, np.float32)
    with pytest.raises(SrkdError, match="contains NaN"):
        Model(replicating_edsr(), 2).upscale(image)


def test_an_output_that_is_not_finite_is_an_error_and_no_black_image() -> None:
    network = replicating_edsr()
    with torch.no_grad():
        network.conv_last.weight.mul_(3e38)
        network.upsample[0].weight.mul_(3e38)
    with pytest.raises(SrkdError, match="output contains NaN or infinity"):
        Model(network, 2).upscale(textured(0, 8, 8))


def test_self_ensemble_undoes_every_view() -> None:
    x = torch.rand(1, 3, 5, 7)
    for view, undo in eight_views(x):
        assert torch.equal(undo(view), x)
    assert len({view.numpy().tobytes() for view, _ in eight_views(torch.rand(1, 1, 4, 4))}) == 8
    doubled = identity(2).run(x, self_ensemble=True)
    torch.testing.assert_close(doubled, x.repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_sides_are_padded_to_what_the_network_takes_and_cropped() -> None:
    seen: list[tuple[int, ...]] = []

    class Recorded(nn.Upsample):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape[-2:]))
            return super().forward(x)

    for sides, expected in ((Sides(8), (8, 16)), (Sides(4, 12), (12, 12)), (Sides(2, 1, square=True), (10, 10))):
        assert Model(Recorded(scale_factor=2), 2, sides=sides).run(torch.rand(1, 3, 5, 9)).shape[-2:] == (10, 18)
        assert seen.pop() == expected


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("tile", [None, 0, 16])
@pytest.mark.parametrize("outscale", [None, 1.5])
def test_colour_and_alpha_of_large_images_come_in_blocks_of_the_same_rows(
    channels: int, tile: int | None, outscale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = Model(replicating_edsr(), 2), noise(channels, height=60, width=50)
    expected = model.upscale(image, tile, outscale=outscale)
    for limit in ("_BLOCK", "_STRIP"):
        monkeypatch.setattr(tiling, limit, 2000)  # bytes: a few rows
    rows = list(model.upscale_rows(image, tile, outscale=outscale))
    assert len(rows) > 3 and np.array_equal(np.concatenate(rows), expected)
