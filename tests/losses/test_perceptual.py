"""VGG features from small random weights, and contrastive self-distillation against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import srkd.losses
from srkd.errors import SrkdError
from srkd.losses.perceptual import VGGFeatures


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


def test_csd(weights):
    s, t, lr = torch.rand(3, 3, 8, 8), torch.rand(3, 3, 8, 8), torch.rand(3, 3, 4, 4)
    loss = srkd.losses.build("csd", features=weights[1], negatives=2)
    bicubic = F.interpolate(lr, (8, 8), mode="bicubic").clamp(0, 1)
    expected = 0.0
    for w, a, b, n in zip((1 / 4, 1.0), *map(loss.features, (s, t, bicubic)), strict=True):
        for i in range(3):
            near = (a[i] - b[i]).abs().mean()
            far = (a[i] - n[i]).abs().mean() + (a[i] - n[(i + 1) % 3]).abs().mean()
            expected += w * (near / (far + 1e-6)).item() / 3
    assert loss(s, t, lr=lr).item() == pytest.approx(expected, rel=1e-5)


def test_csd_needs_lr_and_a_batch_as_large_as_its_negatives(weights):
    s = torch.rand(2, 3, 8, 8)
    loss = srkd.losses.build("csd", features=weights[1], negatives=3)
    with pytest.raises(SrkdError, match="csd: needs the LR images"):
        loss(s, s)
    with pytest.raises(SrkdError, match="negatives: 3 needs a batch of at least that size, got 2"):
        loss.prepare(s, s)


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
