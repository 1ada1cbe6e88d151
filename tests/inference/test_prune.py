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
from srkd.errors import SrkdError
from srkd.inference.prune import importance, prune, trunk
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


def masked(network: nn.Module, kept: dict[int, list[int]]) -> nn.Module:
    """The network at full size, whose blocks take up nothing from the channels that pruning removes."""
    network = copy.deepcopy(network)
    for number, block in enumerate(trunk(network)):
        gone = [c for c in range(block.conv2.in_channels) if c not in kept.get(number, [])]
        with torch.no_grad():
            block.conv2.weight[:, gone] = 0
            if number not in kept:
                network.body[number] = nn.Identity()  # type: ignore[index, operator]
    return network


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("keep", "blocks"), [(0.5, 1.0), (1.0, 0.5), (0.34, 0.75)])
def test_the_pruned_network_equals_the_masked_one_exactly(kind: str, keep: float, blocks: float) -> None:
    network = whole_numbers(build(spec_of(kind)))
    pruned = prune(network, spec_of(kind), keep, blocks)
    narrow = exact(pruned.network)
    x = torch.randint(0, 4, (1, 3, 7, 9), generator=torch.Generator().manual_seed(2)).double()
    with torch.inference_mode():
        expected = masked(network, pruned.kept)(x)
        assert torch.equal(narrow(x), expected)
        assert not torch.equal(network(x), expected)
    assert len(pruned.kept) == round(4 * blocks)
    assert {len(channels) for channels in pruned.kept.values()} == {round(6 * keep)}


@pytest.mark.parametrize("kind", KINDS)
def test_what_adds_nothing_goes_first(kind: str) -> None:
    torch.manual_seed(0)
    network = build(spec_of(kind)).eval()
    blocks = trunk(network)
    with torch.no_grad():
        for block in blocks:
            block.conv2.weight[:, [1, 4]] = 0
        blocks[2].conv2.weight.mul_(1e-3)
    pruned = prune(network, spec_of(kind), 4 / 6, 3 / 4)
    assert pruned.kept == {0: [0, 2, 3, 5], 1: [0, 2, 3, 5], 3: [0, 2, 3, 5]}
    assert prune(network, spec_of(kind)).kept == {number: list(range(6)) for number in range(4)}


def test_importance_does_not_change_with_a_scale_that_changes_no_output() -> None:
    block = trunk(build(spec_of("EDSR")))[0]
    before = importance(block).detach()
    with torch.no_grad():
        block.conv1.weight[3] *= 8
        assert block.conv1.bias is not None
        block.conv1.bias[3] *= 8
        block.conv2.weight[:, 3] /= 8
    torch.testing.assert_close(importance(block).detach(), before)


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


def test_mistakes_are_named(tmp_path: Path) -> None:
    network = build(spec_of("EDSR"))
    with pytest.raises(SrkdError, match="keep must be above 0"):
        prune(network, spec_of("EDSR"), 0.0)
    with pytest.raises(SrkdError, match="Sequential has no residual trunk"):
        prune(nn.Sequential(nn.Conv2d(3, 3, 1)), {})
    with pytest.raises(SrkdError, match="each of the 4 blocks"):
        build({**spec_of("EDSR"), "num_mid": [3, 3]})


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
