"""A file of weights in the layout of torchvision's VGG."""

from __future__ import annotations

import pytest
import torch
from torch import nn


def vgg_like(channels=(4, 6), seed=0):
    """torchvision's VGG layout with two convolutions and a pooling at each of two resolutions."""
    torch.manual_seed(seed)
    a, b = channels
    return nn.Sequential(
        nn.Conv2d(3, a, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(a, a, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(a, b, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(b, b, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


@pytest.fixture
def weights(tmp_path):
    network = vgg_like()
    path = tmp_path / "vgg.pth"
    torch.save(
        {f"features.{key}": value for key, value in network.state_dict().items()}
        | {"classifier.0.weight": torch.zeros(2, 2)},
        path,
    )
    return network, str(path)
