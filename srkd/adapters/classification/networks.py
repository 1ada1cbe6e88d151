"""Networks of the CIFAR protocol of the KD literature (Tian et al., ICLR 2020), with common module names: input
normalisation, `stem`, `stages.0`, `stages.1`, ... (tap points for features, after the activation) and `head`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.errors import SrkdError, unknown

_VGG = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2)}
NAMES = ("ResNet8x4", "ResNet32x4", "VGG8", "VGG13", "WRN16-2", "WRN40-2")  # examples of each family, for messages


def build(kind: Any, channels: int, classes: int, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """Build the network `ResNet<depth>` or `ResNet<depth>x4`, `VGG8`, `VGG11`, `VGG13`, or `WRN<depth>-<width>`.

    Args:
        channels: image channels: 3, or 1 for grey.
        mean, std: per channel, over the training images in [0, 1]; stored as buffers.

    Raises:
        SrkdError: unknown name, or a depth not valid for the family (6n + 2 for ResNet, 6n + 4 for WRN).
    """
    family, depth, width = _parse(str(kind))
    if family == "ResNet":
        return ResNet(depth, width, channels, classes, mean, std)
    if family == "VGG":
        return VGG(depth, channels, classes, mean, std)
    return WideResNet(depth, width, channels, classes, mean, std)


def _parse(kind: str) -> tuple[str, int, int]:
    """Family, depth and width from the name of a network."""
    match = re.fullmatch(r"(ResNet|VGG)(\d+)(?:x(4))?|(WRN)(\d+)-([1-9]\d*)", kind)
    if match:
        family, depth, width = match[1] or match[4], int(match[2] or match[5]), int(match[3] or match[6] or 1)
        first = {"ResNet": 2, "WRN": 4}.get(family)
        if (depth in _VGG and width == 1) if first is None else (depth > first and (depth - first) % 6 == 0):
            return family, depth, width
    raise SrkdError(f"network.type: {unknown('network', kind, NAMES)}")


class Classifier(nn.Module):
    """Maps images (N, C, H, W) in [0, 1] to logits (N, classes)."""

    mean: Tensor
    std: Tensor
    stem: nn.Module
    stages: nn.Sequential
    head: nn.Linear

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.stages(self.stem((x - self.mean) / self.std))
        output: Tensor = self.head(F.adaptive_avg_pool2d(maps, 1).flatten(1))
        return output

    def initialise(self) -> None:
        """He initialisation with fan-out, as in the CIFAR protocol."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def _conv(in_channels: int, out_channels: int, stride: int = 1, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, size, stride, size // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut; ReLU after the sum (He et al., CVPR 2016)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels)
        self.conv2, self.bn2 = _conv(out_channels, out_channels), nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(_conv(in_channels, out_channels, stride, 1), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(Classifier):
    """Three stages of (depth - 2) / 6 blocks at full, half and quarter resolution; 16 w, 32 w and 64 w channels.

    The stem has 16 channels, 32 in the x4 networks (He et al., CVPR 2016, widened as in the CIFAR protocol).
    """

    def __init__(
        self, depth: int, width: int, channels: int, classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__(mean, std)
        features = 32 if width > 1 else 16
        self.stem = nn.Sequential(_conv(channels, features), nn.BatchNorm2d(features), nn.ReLU(inplace=True))
        stages = []
        for number in range(3):
            wide = 16 * width * 2**number
            blocks = []
            for block in range((depth - 2) // 6):
                blocks.append(BasicBlock(features, wide, 2 if number and not block else 1))
                features = wide
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(features, classes)
        self.initialise()


class VGG(Classifier):
    """Five stages of 64, 128, 256, 512 and 512 channels with batch norm (Simonyan and Zisserman, ICLR 2015); 2x2 max
    pooling before the second, third and fourth, so that 32x32 images give 4x4 feature maps."""

    def __init__(self, depth: int, channels: int, classes: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(mean, std)
        self.stem = nn.Identity()
        stages = []
        for number, (wide, convolutions) in enumerate(zip((64, 128, 256, 512, 512), _VGG[depth], strict=True)):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if number in (1, 2, 3) else []
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
                channels = wide
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(512, classes)
        self.initialise()


class PreActBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions (He et al., ECCV 2016)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(in_channels), _conv(in_channels, out_channels, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(out_channels), _conv(out_channels, out_channels)
        self.shortcut = _conv(in_channels, out_channels, stride, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(active))))
        output: Tensor = y + (x if self.shortcut is None else self.shortcut(active))
        return output


class WideResNet(Classifier):
    """Three stages of (depth - 4) / 6 pre-activation blocks; 16 k, 32 k and 64 k channels.

    The last stage includes the final batch norm and ReLU; features of the other stages are not activated (Zagoruyko and
    Komodakis, BMVC 2016).
    """

    def __init__(
        self, depth: int, width: int, channels: int, classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__(mean, std)
        features = 16
        self.stem = _conv(channels, features)
        stages = []
        for number in range(3):
            wide = 16 * width * 2**number
            blocks: list[nn.Module] = []
            for block in range((depth - 4) // 6):
                blocks.append(PreActBlock(features, wide, 2 if number and not block else 1))
                features = wide
            stages.append(nn.Sequential(*blocks))
        stages[-1].extend([nn.BatchNorm2d(features), nn.ReLU(inplace=True)])
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(features, classes)
        self.initialise()
