"""Trained and folded branches: the same function before, during and after."""

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
    x = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        before = network(x)
        widen(network)
        assert torch.equal(network(x), before)


def test_a_kernel_is_the_sum_of_its_branches_applied_one_by_one() -> None:
    torch.manual_seed(1)
    weight = torch.randn(5, 4, 3, 3, dtype=torch.float64)
    branches = Branches(weight).double()
    for parameter in branches.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 4, 8, 7, dtype=torch.float64)
    inner = F.conv2d(x, branches.expand[..., None, None])
    squeeze = branches.squeeze.view(5, 3, 3, -1).permute(0, 3, 1, 2)
    expected = F.conv2d(x, weight, padding=1) + F.conv2d(inner, squeeze, padding=1)
    for matrix, taps in zip(branches.mixed.unbind(1), branches.filters.unbind(1), strict=True):
        expected += F.conv2d(
            F.conv2d(x, matrix[..., None, None]), taps.view(1, 1, 3, 3).expand(5, 1, 3, 3), padding=1, groups=5
        )
    torch.testing.assert_close(F.conv2d(x, branches(weight), padding=1), expected)


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
