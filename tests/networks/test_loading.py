from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from srkd import networks
from srkd.errors import SrkdError
from srkd.inference.checkpoints import read_weights
from srkd.inference.loading import load_model
from srkd.inference.model import Model
from srkd.networks import checkpoint_formats
from srkd.networks.luma import Luma
from srkd.networks.probe import Padded, probe
from srkd.networks.sides import Sides
from srkd.training.checkpoint import save_weights
from support import textured

EDSR = {"type": "EDSR", "num_feat": 4, "num_block": 2, "upscale": 2}
GREY = {**EDSR, "num_in_ch": 1, "num_out_ch": 1}


def built(spec: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return networks.build(spec).eval()


def saved(path: Path, state: Any) -> Path:
    torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["net.pth", "NET.PTH", "net.Ckpt"])
def test_prefixes_suffixes_and_counters_do_not_matter(tmp_path: Path, name: str) -> None:
    network = built(EDSR)
    state = {f"model.{key}": value for key, value in network.state_dict().items()}
    loaded = load_model(saved(tmp_path / name, {"net": {**state, "step": torch.tensor(3)}}))
    x = torch.rand(1, 3, 9, 7)
    assert torch.equal(loaded.network(x), network(x))


def test_a_network_of_one_step_loads(tmp_path: Path) -> None:
    network = built({"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 4, "one_step": True})
    loaded = load_model(saved(tmp_path / "net.pth", network.state_dict()))
    x = torch.rand(1, 3, 9, 7)
    assert loaded.scale == 4 and torch.equal(loaded.network(x), network(x))
    assert loaded.network(x).shape == (1, 3, 36, 28)


def test_the_range_of_edsr_pytorch_is_inferred_from_its_mean_shift() -> None:
    state = {
        "head.0.weight": torch.zeros(4, 3, 3, 3),
        "body.0.body.0.weight": torch.zeros(4, 4, 3, 3),
        "body.1.weight": torch.zeros(4, 4, 3, 3),
        "tail.0.0.weight": torch.zeros(16, 4, 3, 3),
        "tail.1.weight": torch.zeros(3, 4, 3, 3),
    }
    for mean, known in ((0.45, {"img_range": 1.0}), (114.4, {})):
        found = checkpoint_formats.recognise({**state, "sub_mean.bias": torch.full((3,), -mean)})
        assert found is not None
        assert {key: value for key, value in found[0].items() if key == "img_range"} == known


OTHERS: dict[str, dict[str, Tensor]] = {
    "SAN": {"head.0.weight": torch.zeros(8, 3, 3, 3), "RG.0.conv.weight": torch.zeros(8, 8, 3, 3)},
    "1-d first": {
        "conv_first.weight": torch.zeros(3),
        "body.0.conv1.weight": torch.zeros(4, 4, 3, 3),
        "conv_last.weight": torch.zeros(3, 4, 3, 3),
        "upconv1.weight": torch.zeros(16, 4, 3, 3),
    },
    "scalar first": {
        "conv_first.weight": torch.tensor(1.0),
        "body.0.conv1.weight": torch.zeros(4, 4, 3, 3),
        "conv_last.weight": torch.tensor(1.0),
        "conv_after_body.weight": torch.zeros(1),
    },
    "odd widening": {
        "conv_first.weight": torch.zeros(4, 3, 3, 3),
        "body.0.conv1.weight": torch.zeros(4, 4, 3, 3),
        "conv_last.weight": torch.zeros(3, 4, 3, 3),
        "upconv1.weight": torch.zeros(20, 4, 3, 3),
    },
    "no features": {
        "conv_first.weight": torch.zeros(0, 3, 3, 3),
        "body.0.conv1.weight": torch.zeros(4, 4, 3, 3),
        "conv_last.weight": torch.zeros(3, 4, 3, 3),
        "upconv1.weight": torch.zeros(20, 4, 3, 3),
    },
    "like EDSR, but not it": {
        **{key: value for key, value in built(EDSR).state_dict().items()},
        "attention.weight": torch.zeros(4, 4),
    },
    "nothing known": {"a": torch.zeros(1)},
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_other_networks_are_not_recognised(tmp_path: Path, name: str) -> None:
    checkpoint_formats.recognise(OTHERS[name])
    with pytest.raises(SrkdError, match=r"net.pth: not recognised: neither srkd nor spandrel [\d.]+ knows") as caught:
        load_model(saved(tmp_path / "net.pth", OTHERS[name]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("takes", "gives"), [(3, 1), (1, 3), (4, 4)])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_colours_are_never_lost(tmp_path: Path, takes: int, gives: int, suffix: str) -> None:
    spec = {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2, "num_in_ch": takes, "num_out_ch": gives}
    network = networks.build(spec)
    if suffix == ".pth":
        path = saved(tmp_path / "net.pth", network.state_dict())
    else:
        path = tmp_path / "net.safetensors"
        save_weights(path, network.state_dict(), {"network": spec, "scale": 2})
    with pytest.raises(SrkdError, match=rf"takes {takes} channels and returns {gives}|does not upscale"):
        load_model(path)


def test_an_edsr_that_loses_colours_is_rejected(tmp_path: Path) -> None:
    network = networks.build({**EDSR, "num_out_ch": 1})  # its forward pass would broadcast the mean to three channels
    with pytest.raises(SrkdError, match="takes 3 channels and returns 1"):
        load_model(saved(tmp_path / "net.pth", network.state_dict()))
    with pytest.raises(SrkdError, match="rgb_mean has 3 values for 1 input channels"):
        networks.build({**GREY, "rgb_mean": [0.4, 0.4, 0.4]})


def test_a_network_of_one_channel_upscales_grey_itself_and_the_luma_of_colours(tmp_path: Path) -> None:
    network = built(GREY)
    save_weights(tmp_path / "net.safetensors", network.state_dict(), {"network": GREY, "scale": 2})
    model = Model.load(tmp_path / "net.safetensors")
    colour = textured(0, 22, 17)
    grey = colour[..., 0]
    expected = network(torch.from_numpy(grey / np.float32(255))[None, None])[0, 0].detach().clamp(0, 1).mul(255).numpy()
    assert np.abs(model.upscale(grey) - expected).max() < 0.51
    # R = G = B stays exactly equal, and matches the output for the grey image.
    three = np.repeat(grey[..., None], 3, 2)
    np.testing.assert_array_equal(model.upscale(three), np.repeat(model.upscale(grey)[..., None], 3, 2))
    assert model.upscale(colour).shape == (44, 34, 3)
    np.testing.assert_array_equal(model.upscale(colour, tile=8), model.upscale(colour, tile=0))


def test_luma_keeps_colours() -> None:
    identity = Luma(nn.Identity(), 1)
    x = torch.rand(1, 3, 12, 9)
    assert torch.allclose(identity(x), x, atol=1e-6)
    flat = torch.tensor([0.9, 0.2, 0.1]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    larger = Luma(nn.Upsample(scale_factor=3), 3)(flat)
    assert larger.shape == (1, 3, 24, 24) and torch.allclose(larger, flat[..., :1, :1], atol=1e-6)


class Folded(nn.Module):
    """Works at a quarter of the resolution, on at least `least` pixels."""

    def __init__(self, factor: int = 4, least: int = 0) -> None:
        super().__init__()
        self.least, self.factor = least, factor
        self.conv = nn.Conv2d(3 * factor**2, 3 * factor**2, 3, padding=1, groups=3 * factor**2)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < self.least:
            raise ValueError("too small")
        inner = self.conv(nn.functional.pixel_unshuffle(x, self.factor))
        return nn.functional.pixel_shuffle(inner, self.factor)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 6, 7, 8, 12, 16, 32, 64])
@pytest.mark.parametrize("least", [0, 5, 20])
def test_sides_are_probed(factor: int, least: int) -> None:
    network = Folded(factor, least).train()
    state = torch.random.get_rng_state()
    found = probe(network, 1)
    assert found is not None and (found.input_channels, found.output_channels, found.sides.multiple) == (3, 3, factor)
    assert least <= found.sides.minimum <= max(2 * least, factor) and found.sides.minimum % factor == 0
    assert network.training and torch.equal(state, torch.random.get_rng_state())
    assert probe(network, 2) is None


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (16, 16), (17, 40)])
@pytest.mark.parametrize("square", [False, True])
def test_padding_does_not_affect_the_output(size: tuple[int, int], square: bool) -> None:
    seen: list[tuple[int, int]] = []

    class Nearest(nn.Module):
        def forward(self, lr: Tensor) -> Tensor:
            seen.append((lr.shape[-2], lr.shape[-1]))
            return nn.functional.interpolate(lr, scale_factor=3, mode="nearest")

    network, lr = Padded(Nearest(), 3, Sides(8, 16, square)), torch.rand(1, 3, *size)
    assert torch.equal(network(lr), nn.functional.interpolate(lr, scale_factor=3, mode="nearest"))
    height, width = seen[0]
    assert height % 8 == width % 8 == 0 and min(height, width) >= 16
    assert height == width or not square


RRDB = {
    "type": "RRDBNet",
    "num_in_ch": 3,
    "num_out_ch": 3,
    "num_feat": 4,
    "num_block": 1,
    "num_grow_ch": 32,
    "scale": 2,
}
SWINIR = {
    "type": "SwinIR",
    "img_size": 16,
    "embed_dim": 8,
    "depths": [2],
    "num_heads": [2],
    "window_size": 4,
    "mlp_ratio": 2,
    "upscale": 2,
    "img_range": 1.0,
    "upsampler": "pixelshuffledirect",
    "resi_connection": "1conv",
}


@pytest.mark.parametrize("spec", [RRDB, SWINIR], ids=["pixel unshuffle", "windows"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_windows_and_unshuffling_work_at_every_size_and_in_tiles(
    tmp_path: Path, spec: dict[str, Any], suffix: str
) -> None:
    network = built(spec)
    path = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        save_weights(path, network.state_dict(), {"network": spec, "scale": 2})
    model = Model.load(path)
    assert model.receptive_field.exact
    for size in ((1, 1), (7, 3), (61, 54), (64, 40)):
        image = textured(0, *size)
        whole = model.upscale(image, tile=0)
        assert whole.shape == (2 * size[0], 2 * size[1], 3)
        for tile in (16, 23):
            np.testing.assert_array_equal(model.upscale(image, tile=tile), whole)


def test_the_table_named_by_a_recipe_is_used(tmp_path: Path) -> None:
    one, other = ({key: value + add for key, value in built(EDSR).state_dict().items()} for add in (0, 1))
    path = saved(tmp_path / "net.pth", {"params": one, "params_ema": other})
    for key, expected in (("params", one), ("params_ema", other), (None, other)):
        assert torch.equal(read_weights(str(path), 2, key)["conv_first.weight"], expected["conv_first.weight"])
