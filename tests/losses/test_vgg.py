"""VGG features from a file of small random weights."""

from __future__ import annotations

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError
from srkd.losses.vgg import VGGFeatures


def test_vgg_is_built_from_a_file_and_returns_the_first_activation_of_each_resolution(weights):
    network, path = weights
    image = torch.rand(2, 3, 8, 8)
    mean, deviation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    x = (image - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
    features = VGGFeatures(path)
    first, second = features(image)
    torch.testing.assert_close(first, network[:2](x))
    torch.testing.assert_close(second, network[:7](x))
    assert not any(p.requires_grad for p in features.parameters())
    assert not features.train().training


def test_missing_or_invalid_weights_raise(tmp_path):
    with pytest.raises(SrkdError, match=r'csd: no VGG weights at ".*nowhere.pth": give "hub" or the path'):
        srkd.losses.build("csd", features=str(tmp_path / "nowhere.pth"))
    other = tmp_path / "other.pth"
    torch.save({"conv.weight": torch.zeros(1)}, other)
    with pytest.raises(SrkdError, match="is not a VGG state dict"):
        srkd.losses.build("csd", features=str(other))
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(SrkdError, match="is not a state dict that can be loaded safely"):
        srkd.losses.build("csd", features=str(broken))
