"""Trained and folded branches: the same function before, during and after."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import srkd
from srkd import networks
from srkd.errors import SrkdError
from srkd.networks.reparameterise import Branches, folded, widen
from srkd.training.checkpoint import load_weights
from srkd.training.recipe import override
from srkd.training.run import Run

SPEC = {"type": "EDSR", "num_feat": 4, "num_block": 2, "upscale": 2}


def test_training_starts_from_the_plain_network() -> None:
    torch.manual_seed(0)
    network = networks.build(SPEC).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        expected = network(x)
        widen(network)
        torch.testing.assert_close(network(x), expected)
    after = folded(network)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_kernel_is_the_sum_of_its_branches_applied_one_by_one() -> None:
    torch.manual_seed(1)
    convolutions = [torch.nn.Conv2d(4, 5, 3, dtype=torch.float64) for _ in range(3)]
    weights = [each.weight.detach().clone() for each in convolutions]
    branches = Branches(convolutions)
    for name in ("mixed", "expand", "squeeze"):
        torch.nn.init.normal_(branches.get_parameter(name))
    x = torch.randn(2, 4, 8, 7, dtype=torch.float64)
    for number, (kernel, weight) in enumerate(zip(branches.kernels(), weights, strict=True)):
        inner = F.conv2d(x, branches.expand[number, ..., None, None])
        squeeze = branches.squeeze[number].view(5, 3, 3, -1).permute(0, 3, 1, 2)
        expected = F.conv2d(x, weight, padding=1) + F.conv2d(inner, squeeze, padding=1)
        mixed = branches.mixed[5 * number : 5 * number + 5]
        for matrix, taps in zip(mixed.unbind(1), branches.filters.unbind(1), strict=True):
            expected += F.conv2d(
                F.conv2d(x, matrix[..., None, None]), taps.view(1, 1, 3, 3).expand(5, 1, 3, 3), padding=1, groups=5
            )
        torch.testing.assert_close(F.conv2d(x, kernel, padding=1), expected)


def test_autocast_rounds_the_kernels_that_the_convolutions_use_and_not_the_sums() -> None:
    torch.manual_seed(3)
    network = networks.build(SPEC)
    kernel = network.conv_first.weight.detach().clone()  # type: ignore[union-attr,operator]
    widen(network)
    seen: list[torch.Tensor] = []
    network.conv_first.register_forward_hook(lambda layer, *_: seen.append(layer.weight))  # type: ignore[union-attr]
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.rand(1, 3, 8, 8))
    assert torch.equal(seen[0], kernel.bfloat16())
    assert torch.equal(folded(network)["conv_first.weight"], kernel)


def test_a_wide_network_can_be_copied_after_a_step() -> None:
    network = networks.build(SPEC)
    widen(network)
    x = torch.rand(1, 3, 8, 8)
    network(x).mean().backward()
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(2)
        expected = network(x)
        assert not torch.equal(copied(x), expected)
        assert torch.equal(network(x), expected)


def test_every_branch_is_trained_and_folds_into_the_plain_network() -> None:
    torch.manual_seed(2)
    network = networks.build(SPEC)
    widen(network)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    x = torch.rand(2, 3, 8, 8)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for _ in range(2):  # expand gets a gradient once squeeze is no longer 0
        network(x).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    assert not [name for name, p in network.named_parameters() if torch.equal(p, before[name])]
    plain = networks.build(SPEC)
    plain.load_state_dict(folded(network))
    with torch.no_grad():
        torch.testing.assert_close(plain(x), network(x))


def test_a_run_saves_the_plain_network_and_resumes_the_wide_one(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = override(recipe, ["train.reparameterise=true", "train.ema_decay=0.5"])
    whole = Run(recipe, tmp_path / "whole", quiet=True).train()
    weights, meta = load_weights(Path(whole["models"]["net_g"]))
    assert weights.keys() == networks.build(meta["network"]).state_dict().keys()
    assert srkd.load(whole["models"]["net_g"]).scale == 2
    stopped = Run(recipe, tmp_path / "cut", budget=0, quiet=True).train()
    assert not stopped["finished"]
    resumed = Run(recipe, tmp_path / "cut", resume=True, quiet=True).train()
    again, _ = load_weights(Path(resumed["models"]["net_g"]))
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_a_stage_does_not_lose_the_branches_of_the_one_before(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["stages"] = [{"train": {"reparameterise": True}}, {"train": {"reparameterise": False}}]
    with pytest.raises(SrkdError, match=r"train\.reparameterise must be the same in every stage"):
        Run(recipe, tmp_path, quiet=True).train()
