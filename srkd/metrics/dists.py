"""DISTS: structure and texture compared in the features of VGG-16."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd import resources
from srkd.files import wheels
from srkd.metrics.registry import Metric, register
from srkd.metrics.scores import Pair
from srkd.metrics.weights import load_convolutions, torchvision_file

WEIGHTS = "SRKD_VGG16"
_FILE = "vgg16-397923af.pth"
# The learned weights of the channels, in the authors' package (MIT).
SOURCE = "dists-pytorch==0.1"
SHA256 = "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"
# VGG-16's convolutions: number in torchvision's `features` and output channels, by resolution.
_STAGES = (
    ((0, 64), (2, 64)),
    ((5, 128), (7, 128)),
    ((10, 256), (12, 256), (14, 256)),
    ((17, 512), (19, 512), (21, 512)),
    ((24, 512), (26, 512), (28, 512)),
)
_CHANNELS = (3, *(stage[-1][1] for stage in _STAGES))
_C = 1e-6


@register("dists")
class DISTS(Metric):
    """1 minus the weighted similarity of means (texture) and of correlations (structure) of the image and of VGG-16's
    feature maps, on RGB; at least 32x32 pixels.

    Source: Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", TPAMI 2020
    (arXiv:2004.07728).
    """

    label, digits, lower = "DISTS", 4, True
    needs = f"torchvision's {_FILE}, found by torch or named by {WEIGHTS}"
    stamp = "DISTS: VGG-16, RGB, image not resized"

    def check(self) -> None:
        _network(_vgg16(), _learned())

    def __call__(self, pair: Pair) -> float:
        a, b = (torch.from_numpy(p / 255).permute(2, 0, 1)[None].float() for p in pair.inside("DISTS", 32))
        with torch.no_grad():
            return float(_network(_vgg16(), _learned())(a, b))


class Network(nn.Module):
    """DISTS of pairs of RGB images (N, 3, H, W) in [0, 1], (N,).

    Args:
        vgg16: torchvision's weights.
        learned: {"alpha", "beta"}: weights of the means and of the correlations, (1, 1475, 1, 1).

    Raises:
        SrkdError: the file does not contain VGG-16's weights.
    """

    def __init__(self, vgg16: Path, learned: Path) -> None:
        super().__init__()
        self.stages, inputs = nn.ModuleList(), 3
        numbered: dict[int, nn.Module] = {}
        for stage in _STAGES:
            layers = nn.Sequential()
            for number, outputs in stage:
                numbered[number] = nn.Conv2d(inputs, outputs, 3, padding=1)
                layers.append(numbered[number]).append(nn.ReLU())
                inputs = outputs
            self.stages.append(layers)
        load_convolutions(vgg16, "VGG-16", numbered)
        weights = torch.load(learned, map_location="cpu", weights_only=True)
        total = weights["alpha"].sum() + weights["beta"].sum()
        self.alpha, self.beta = (
            (weights[key].detach() / total).flatten().split(_CHANNELS) for key in ("alpha", "beta")
        )
        self.requires_grad_(False).eval()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        similar = torch.zeros(len(a))
        for x, y, alpha, beta in zip(self._maps(a), self._maps(b), self.alpha, self.beta, strict=True):
            x_mean, y_mean = x.mean((2, 3)), y.mean((2, 3))
            x, y = x - x_mean[..., None, None], y - y_mean[..., None, None]
            variances, covariance = x.square().mean((2, 3)) + y.square().mean((2, 3)), (x * y).mean((2, 3))
            texture = (2 * x_mean * y_mean + _C) / (x_mean.square() + y_mean.square() + _C)
            structure = (2 * covariance + _C) / (variances + _C)
            similar = similar + (alpha * texture + beta * structure).sum(1)
        return 1 - similar

    def _maps(self, image: Tensor) -> Iterator[Tensor]:
        """The image itself, and the last activation of each resolution."""
        yield image
        mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        x = (image - mean) / deviation
        for number, stage in enumerate(self.stages):
            x = stage(x if number == 0 else _l2_pool(x))
            yield x


def _l2_pool(x: Tensor) -> Tensor:
    """Halve the size: root of the squares under a 3x3 Hann window, which keeps shifts of the image from mattering."""
    window = torch.hann_window(5, periodic=False)[1:-1].to(x)
    kernel = (window[:, None] * window / window.sum() ** 2).expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


def _vgg16() -> Path:
    return torchvision_file("DISTS", "VGG-16", _FILE, WEIGHTS)


def _learned() -> Path:
    path = resources.cache() / "models" / "dists.pt"
    wheels.fetch("DISTS's weights", SOURCE, [wheels.WheelFile("DISTS_pytorch/weights.pt", SHA256, path)])
    return path


@cache
def _network(vgg16: Path, learned: Path) -> Network:
    return Network(vgg16, learned)
