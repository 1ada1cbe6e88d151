"""The EfficientNet-Lite0 distance as a loss: its shifts, and no copy of the weights in checkpoints."""

from __future__ import annotations

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError
from srkd.losses.efficientnet import SHIFTS, FeatureDistance
from srkd.losses.efficientnet_distance import EfficientNetLoss, _random_network


def test_it_is_the_distance_at_a_random_shift() -> None:
    network = _random_network()
    loss, distance = EfficientNetLoss(network), FeatureDistance(network)
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 3, 17, 16, generator=rng) for _ in range(2))
    expected = {round(float(distance(a, b, [shift]).mean()), 6) for shift in SHIFTS}
    torch.manual_seed(0)
    found = {round(float(loss(a, b)), 6) for _ in range(40)}
    assert found == expected and len(expected) == 4


def test_checkpoints_do_not_contain_its_weights() -> None:
    loss = srkd.losses.build("efficientnet_distance", weights=_random_network())
    loss(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
    assert not loss.state_dict() and not list(loss.parameters())


def test_mistakes_are_named() -> None:
    loss = srkd.losses.build("efficientnet_distance", weights=_random_network())
    with pytest.raises(SrkdError, match="needs RGB images of at least 2x2"):
        loss(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8))
    with pytest.raises(SrkdError, match="weights must be pretrained, got 'mine'"):
        srkd.losses.build("efficientnet_distance", weights="mine")
