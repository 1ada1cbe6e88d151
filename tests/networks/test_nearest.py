"""NearestResNet: its skip, its size, and inputs that it rejects."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from srkd import networks
from srkd.errors import SrkdError


def test_an_untrained_tail_gives_the_nearest_neighbour() -> None:
    network = networks.build({"type": "NearestResNet", "num_feat": 4, "num_block": 2, "upscale": 3})
    for parameter in network.conv_last.parameters():  # type: ignore[union-attr]
        torch.nn.init.zeros_(parameter)
    x = torch.rand(2, 3, 5, 7)
    assert torch.equal(network(x), F.interpolate(x, scale_factor=3.0, mode="nearest"))


@pytest.mark.parametrize(("feat", "block", "parameters"), [(48, 6, 292_320), (32, 5, 116_496)])
def test_sizes(feat: int, block: int, parameters: int) -> None:
    network = networks.build({"type": "NearestResNet", "num_feat": feat, "num_block": block, "upscale": 4})
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_wrong_options() -> None:
    with pytest.raises(SrkdError, match="upscale must be at least 1"):
        networks.build({"type": "NearestResNet", "upscale": 0})
