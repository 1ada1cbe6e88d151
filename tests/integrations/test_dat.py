"""DAT's attention against spandrel's own, which is the official code."""

from __future__ import annotations

import copy
import importlib
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from srkd.integrations import dat
from srkd.integrations.torchvision_compat import import_torchvision


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Two groups of three blocks, so that some windows are shifted; trained at 16x16."""
    import_torchvision()  # before spandrel imports it
    pytest.importorskip("spandrel", reason="spandrel, an extra, is not installed")
    official: Any = importlib.import_module("spandrel.architectures.DAT")
    torch.manual_seed(0)
    options = {"embed_dim": 64, "num_heads": [2, 2], "depth": [3, 3], "split_size": [4, 8], "expansion_factor": 2}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")  # about a future default
        found = official.DAT(img_size=16, upscale=2, **options)
    for parameter in found.parameters():  # weights of a trained network are larger than its initial ones
        nn.init.normal_(parameter, std=0.2)
    double: nn.Module = found.double().eval()
    return double


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (1, 3, 24, 40), (3, 3, 13, 21), (1, 3, 8, 8)])
def test_the_output_is_that_of_the_official_code(shape: tuple[int, ...], network: nn.Module) -> None:
    fused = copy.deepcopy(network)
    dat.fuse_attention(fused)
    image = torch.rand(shape, dtype=torch.float64)
    assert torch.allclose(fused(image), network(image), rtol=1e-9, atol=1e-12)
    assert torch.equal(copy.deepcopy(fused)(image), fused(image))
    assert torch.equal(pickle.loads(pickle.dumps(fused))(image), fused(image))


def test_gradients_are_those_of_the_official_code(network: nn.Module) -> None:
    fused, image = copy.deepcopy(network), torch.rand(1, 3, 16, 24, dtype=torch.float64)
    dat.fuse_attention(fused)

    def gradients(own: nn.Module) -> tuple[Tensor, ...]:
        return torch.autograd.grad(own(image).square().sum(), list(own.parameters()))

    assert all(torch.allclose(a, b, rtol=1e-7) for a, b in zip(gradients(fused), gradients(network), strict=True))


def test_masks_are_those_of_the_official_code(network: nn.Module) -> None:
    block: Any = network.get_submodule("layers.0.blocks.2.attn")
    assert block.attn_mask_0 is not None, "this block shifts its windows"
    ours = dat._masks(tuple(block.split_size), tuple(block.shift_size), 24, 32, torch.float64)
    for mask, official in zip(ours, block.calculate_mask(24, 32, torch.float64), strict=True):
        assert torch.equal(mask, official)
