from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import srkd
from srkd.cli.main import main
from srkd.compression.candidates import lines
from srkd.errors import SrkdError
from srkd.inference.model import Model
from srkd.inference.prune import Pruned, inner_channels, prune
from srkd.integrations import basicsr
from srkd.networks import build
from srkd.training.checkpoint import load_weights, save_weights

KINDS = ["EDSR", "MSRResNet", "SRResNet"]


def spec_of(kind: str) -> dict[str, Any]:
    return {"type": kind, "num_feat": 6, "num_block": 4, "upscale": 2}


def exact(network: nn.Module) -> nn.Module:
    """The network with nothing left in it that rounds whole numbers in float64."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
        if isinstance(module, nn.LeakyReLU):
            module.negative_slope = 0.5
    if hasattr(network, "mean"):
        network.mean.zero_()  # type: ignore[operator]
        network.img_range = 1.0  # type: ignore[assignment]
    return network.double().eval()


def whole_numbers(network: nn.Module) -> nn.Module:
    """Weights of -1, 0 and 1 in float64: sums come out the same in whatever order they are made."""
    network = exact(network)
    generator = torch.Generator().manual_seed(1)
    for name, value in network.state_dict().items():
        if value.is_floating_point() and "running" not in name:
            value.copy_(torch.randint(-1, 2, value.shape, generator=generator).to(value))
    for module in network.modules():
        if isinstance(module, nn.PReLU):
            nn.init.constant_(module.weight, 0.5)
    return network


def masked(network: nn.Module, pruned: Pruned) -> nn.Module:
    """The network at full size, whose blocks take up nothing from the channels that pruning removes."""
    network = copy.deepcopy(network)
    blocks: Any = network.body
    for number, block in enumerate(blocks):
        kept = pruned.channels.get(f"body.{number}.conv1", range(block.conv2.in_channels))
        gone = [c for c in range(block.conv2.in_channels) if c not in kept]
        with torch.no_grad():
            block.conv2.weight[:, gone] = 0
            if number not in pruned.blocks:
                blocks[number] = nn.Identity()
    return network


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("keep", "blocks"), [(0.5, 1.0), (1.0, 0.5), (0.34, 0.75)])
def test_the_pruned_network_equals_the_masked_one_exactly(kind: str, keep: float, blocks: float) -> None:
    network = whole_numbers(build(spec_of(kind)))
    pruned = prune(network, spec_of(kind), keep, blocks)
    narrow = exact(pruned.network)
    x = torch.randint(0, 4, (1, 3, 7, 9), generator=torch.Generator().manual_seed(2)).double()
    with torch.inference_mode():
        expected = masked(network, pruned)(x)
        assert torch.equal(narrow(x), expected)
        assert not torch.equal(network(x), expected)
    assert len(pruned.blocks) == round(4 * blocks)
    assert {block.conv1.out_channels for block in narrow.body} == {round(6 * keep)}  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["EDSR", "MSRResNet"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_channels_that_skip_connections_add_up_are_removed_together(kind: str, scale: int) -> None:
    """Exactly as if they were always zero, in the trunk and after each pixel shuffle."""
    spec = {**spec_of(kind), "upscale": scale}
    network = whole_numbers(build(spec))
    pruned = prune(network, spec, features=4 / 6)
    assert (pruned.spec["num_feat"], pruned.spec["num_mid"]) == (4, [6] * 4)
    trunk = [kept for name, kept in pruned.channels.items() if not name.startswith("up") and name != "conv_hr"]
    assert len(trunk) >= 5 and all(kept == trunk[0] for kept in trunk)
    zeroed = copy.deepcopy(network)
    for name, kept in pruned.channels.items():
        layer = zeroed.get_submodule(name)
        cells = len(layer.weight) // 6  # type: ignore[arg-type]
        gone = [channel * cells + i for channel in range(6) if channel not in kept for i in range(cells)]
        for parameter in layer.parameters():
            parameter.data[gone] = 0
    x = torch.randint(0, 4, (1, 3, 7, 9), generator=torch.Generator().manual_seed(2)).double()
    with torch.inference_mode():
        assert torch.equal(exact(pruned.network)(x), zeroed(x))
        assert not torch.equal(network(x), zeroed(x))


@pytest.mark.parametrize("share", [{"keep": 0.5}, {"features": 0.5}, {"keep": 0.25, "features": 0.75}])
def test_a_network_whose_options_describe_no_narrower_layers_is_pruned_too(share: dict[str, float]) -> None:
    """BasicSR's RCAN: skip connections within skip connections, attention over channels."""
    if not basicsr.available():
        pytest.skip("basicsr is not installed")
    torch.manual_seed(0)
    sizes = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_group": 2, "num_block": 2, "upscale": 2}
    spec = {"type": "RCAN", **sizes}
    network = build(spec).eval()
    pruned = prune(network, spec, **share)
    body: Any = pruned.network.body
    block = body[0].residual_group[0].rcab
    features, inner = (round(16 * share.get(name, 1.0)) for name in ("features", "keep"))
    assert (block[0].in_channels, block[0].out_channels, block[2].out_channels) == (features, inner, features)
    again = build(json.loads(json.dumps(pruned.spec))).eval()
    again.load_state_dict(pruned.network.state_dict())
    x = torch.rand(1, 3, 9, 11)
    with torch.inference_mode():
        assert torch.equal(again(x), pruned.network(x)) and again(x).shape == (1, 3, 18, 22)
    with pytest.raises(SrkdError, match="RCAN does not declare a trunk"):
        prune(network, spec, blocks=0.5)
    with pytest.raises(SrkdError, match="pruned_channels: conv_first cannot have"):
        build({**spec, "pruned_channels": {"conv_first": [17, 3]}})


class Mixed(nn.Module):
    """(N, 3, H, W), even H and W, to (N, 3, 2 H, 2 W): concatenation, batch norm, PReLU and pixel shuffles."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 1, 1)
        self.act = nn.PReLU(8)
        self.unshuffle = nn.PixelUnshuffle(2)
        self.down = nn.Conv2d(32, 8, 3, 1, 1)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.Conv2d(16, 16, 1)
        self.last = nn.Conv2d(4, 3, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = self.act(self.first(x))
        low = torch.relu(self.norm(self.down(self.unshuffle(wide))))
        low = nn.functional.interpolate(low, scale_factor=2.0)
        return self.last(nn.functional.pixel_shuffle(self.up(torch.cat([wide, low], 1)), 2))


def test_removing_channels_of_zeros_changes_nothing_in_any_network() -> None:
    spec = {"type": f"{Mixed.__module__}:Mixed"}
    torch.manual_seed(0)
    network = Mixed().double().eval()
    with torch.no_grad():
        for layer, gone in ((network.first, [1, 5]), (network.down, [0, 3]), (network.up, [4, 5, 6, 7])):
            layer.weight[gone] = 0
            layer.bias[gone] = 0  # type: ignore[index]
    pruned = prune(network, spec, keep=0.75)
    assert pruned.channels == {"first": [0, 2, 3, 4, 6, 7], "down": [1, 2, 4, 5, 6, 7], "up": [0, 2, 3]}
    assert pruned.network.up.in_channels == 12  # type: ignore[union-attr]
    x = torch.rand(1, 3, 12, 10, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(pruned.network(x), network(x))


@pytest.mark.parametrize("kind", KINDS)
def test_what_adds_nothing_goes_first(kind: str) -> None:
    torch.manual_seed(0)
    network = build(spec_of(kind)).eval()
    blocks: Any = network.body
    with torch.no_grad():
        for block in blocks:
            block.conv2.weight[:, [1, 4]] = 0
        blocks[2].conv2.weight.mul_(1e-3)
    pruned = prune(network, spec_of(kind), 4 / 6, 3 / 4)
    assert pruned.blocks == [0, 1, 3]
    assert pruned.channels == {f"body.{number}.conv1": [0, 2, 3, 5] for number in (0, 1, 3)}
    assert prune(network, spec_of(kind)).blocks == [0, 1, 2, 3]


def test_importance_does_not_change_with_a_scale_that_changes_no_output() -> None:
    network = build(spec_of("EDSR"))
    block: Any = network.body[0]  # type: ignore[index]

    def importance() -> torch.Tensor:
        (found,) = (each for each in inner_channels(network) if each.writers == ["body.0.conv1"])
        return found.importance

    before = importance()
    with torch.no_grad():
        block.conv1.weight[3] *= 8
        block.conv1.bias[3] *= 8
        block.conv2.weight[:, 3] /= 8
    torch.testing.assert_close(importance(), before)


def test_the_command_writes_what_srkd_load_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    source, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_weights(source, build(spec_of("EDSR")).state_dict(), {"network": spec_of("EDSR"), "scale": 2})
    assert main(["prune", str(source), "--keep", "0.5", "--blocks", "0.75", "-o", str(out)]) == 0
    assert "3 blocks" in capsys.readouterr().out
    model = srkd.load(str(out))
    assert model.meta["network"]["num_mid"] == [3, 3, 3]
    assert model.meta["lineage"]["pruned_from"] == "a"
    again = prune(model.network, model.meta["network"], 0.67)
    assert again.spec["num_mid"] == [2, 2, 2]
    expected = prune(srkd.load(str(source)).network, spec_of("EDSR"), 0.5, 0.75).network.state_dict()
    for name, value in load_weights(out)[0].items():
        assert torch.equal(value, expected[name])
    before = source.read_bytes()
    assert main(["prune", str(source), "--keep", "0.5", "-o", str(tmp_path / "." / source.name)]) == 1
    assert "would replace the network" in capsys.readouterr().err and source.read_bytes() == before


def test_mistakes_are_named(tmp_path: Path) -> None:
    network = build(spec_of("EDSR"))
    with pytest.raises(SrkdError, match="keep must be above 0"):
        prune(network, spec_of("EDSR"), 0.0)
    with pytest.raises(SrkdError, match="Sequential has no channels that can be removed"):
        prune(nn.Sequential(nn.Conv2d(3, 3, 1)), {})
    with pytest.raises(SrkdError, match="Sequential cannot be traced for pruning"):
        prune(nn.Sequential(nn.Conv2d(3, 3, 99)), {})
    with pytest.raises(SrkdError, match="each of the 4 blocks"):
        build({**spec_of("EDSR"), "num_mid": [3, 3]})


NARROW: list[dict[str, Any]] = [
    {"type": "SESR", "num_feat": 8, "num_block": 2},
    {"type": "SPAN", "num_feat": 8, "num_block": 2},
    {"type": "UnshuffleSR", "num_feat": 8, "num_block": 2, "unshuffle": 3},
    {"type": "NearestResNet", "num_feat": 8, "num_block": 2, "upscale": 2},
]


def test_a_network_is_pruned_again_when_its_options_describe_it_again() -> None:
    """Channels that are all narrower by the second pruning are `num_feat`; after the first, not all were."""
    for spec in NARROW:
        once = prune(build(spec).eval(), spec, features=0.5)
        again = prune(once.network, once.spec, keep=0.25, features=0.5)
        assert again.spec["num_feat"] == 2 and "pruned_channels" not in again.spec, spec["type"]


def test_the_scale_of_residuals_does_not_change_with_the_number_of_features() -> None:
    spec = {"type": "EDSR", "num_feat": 256, "num_block": 1, "upscale": 2, "res_scale": 0.1}
    pruned = prune(build(spec).eval(), spec, features=0.1, keep=0.1)
    assert pruned.spec == {**spec, "num_feat": 26}


def test_a_stream_narrower_than_the_image_is_described_by_its_channels() -> None:
    spec = {"type": "ETDS", "num_feat": 9, "num_block": 2}
    pruned = prune(build(spec).eval(), spec, keep=0.34)
    assert pruned.spec["pruned_channels"]["conv_residual_first"] == [1, 3]


@pytest.mark.parametrize("kind", ["PlainUSR", "SwinIR"])
def test_a_network_that_cannot_be_traced_is_named(kind: str, tmp_path: Path) -> None:
    """Slices and windows of channels, with which torch-pruning fails by exceptions of several classes."""
    if kind == "SwinIR" and not basicsr.available():
        pytest.skip("basicsr is not installed")
    windows = {"img_size": 16, "window_size": 8, "depths": [2], "embed_dim": 12, "num_heads": [2]}
    spec = {"type": kind, "upscale": 2, **(windows if kind == "SwinIR" else {})}
    network = build(spec).eval()
    with pytest.raises(SrkdError, match=f"{kind} cannot be traced for pruning"):
        prune(network, spec, keep=0.5)
    assert lines(Model(network, 2, meta={"network": spec}), tmp_path)  # of other structures


def test_blocks_that_no_option_counts_are_not_removed() -> None:
    spec = {"type": "UnshuffleSR", "num_feat": 4, "num_block": 2, "unshuffle": 1}
    assert prune(build(spec).eval(), spec, blocks=0.5).spec["num_block"] == 1
    spec = {"type": "PrivilegedEDSR", "num_feat": 4, "num_block": 2, "upscale": 2}
    with pytest.raises(SrkdError, match="PrivilegedEDSR has no options that describe fewer blocks"):
        prune(build(spec).eval(), spec, blocks=0.5)


def test_a_network_of_one_channel_is_pruned(tmp_path: Path) -> None:
    source, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    spec = {**spec_of("EDSR"), "num_in_ch": 1, "num_out_ch": 1}
    save_weights(source, build(spec).state_dict(), {"network": spec, "scale": 2})
    assert main(["prune", str(source), "--keep", "0.5", "-o", str(out)]) == 0
    model = srkd.load(str(out))
    assert model.colour == "luma" and model.meta["network"]["num_mid"] == [3, 3, 3, 3]


def test_a_pruned_network_trains_on_with_the_unpruned_one_as_teacher(tmp_path: Path, recipe: dict[str, Any]) -> None:
    torch.manual_seed(0)
    spec = {"type": "EDSR", "num_feat": 4, "num_block": 2, "upscale": 2, "img_range": 1.0}
    source, narrow = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    save_weights(Path(source), build(spec).state_dict(), {"network": spec, "scale": 2})
    assert main(["prune", source, "--keep", "0.5", "-o", narrow]) == 0
    recipe["network_g"]["num_mid"] = [2, 2]
    recipe["network_g_teacher"] = {"file": source}
    recipe["path"] = {"pretrain_network_g": narrow}
    recipe["cache"] = {"kind": "live"}
    recipe["train"] |= {"total_iter": 2, "losses": [{"type": "L1Loss"}, {"type": "output"}]}
    (tmp_path / "r.yml").write_text(json.dumps(recipe))
    assert main(["train", "-opt", str(tmp_path / "r.yml"), "--output", str(tmp_path / "runs")]) == 0
    (trained,) = (tmp_path / "runs").rglob("*.safetensors")
    start, end = load_weights(Path(narrow))[0], load_weights(trained)[0]
    assert start.keys() == end.keys()
    assert 0 < (start["body.0.conv1.weight"] - end["body.0.conv1.weight"]).abs().max() < 0.02
