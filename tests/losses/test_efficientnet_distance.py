"""The EfficientNet-Lite0 distance as a loss: its shifts, and no copy of the weights in checkpoints."""

from __future__ import annotations

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError
from srkd.losses.efficientnet import STRIDE, FeatureDistance
from srkd.losses.efficientnet_distance import EfficientNetLoss, _random_network


def test_it_is_the_distance_at_a_random_shift() -> None:
    network = _random_network()
    loss, distance = EfficientNetLoss(network), FeatureDistance(network)
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 3, 3, 4, generator=rng) for _ in range(2))
    expected = {round(float(distance(a, b, [(y, x)]).mean()), 6) for y in range(3) for x in range(3)}
    torch.manual_seed(0)
    found = {round(float(loss(a, b)), 6) for _ in range(100)}
    assert found == expected and len(expected) == 9


def test_shifts_reach_every_phase_of_the_last_map(monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = _random_network(), set()
    monkeypatch.setattr(FeatureDistance, "forward", lambda self, a, b, shifts: seen.update(shifts) or a.mean())
    loss = EfficientNetLoss(network)
    for _ in range(600):
        loss(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16))
    assert len(seen) == STRIDE**2


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
