"""EDSR: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from srkd.networks.base import Ladder, Recognised, State, last_number, shuffle_factor
from srkd.networks.blocks import ResidualBlock, ResidualNetwork, Upsampler
from srkd.networks.merged_tail import merged_tail
from srkd.networks.quantisation_aware import Int8Conv2d, rounded_weights
from srkd.networks.registry import register
from srkd.networks.tail import (
    Kernel,
    Layer,
    SubpixelOutput,
    Tail,
    before_shuffle,
    composed,
    joined,
    kernel_of,
    may_merge,
    same,
    to_pixels,
)

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
_DIV2K_GREY = (0.299 * 0.4488 + 0.587 * 0.4371 + 0.114 * 0.4040,)  # BT.601 luma of it


@register("EDSR")
class EDSR(ResidualNetwork):
    """A residual trunk without batch norm, then pixel shuffle.

    64 features and 16 blocks give EDSR-baseline (1,369,859 parameters at x2); 16 and 8 the student of the comparative
    study (49,603); 256, 32 and res_scale 0.1 the large EDSR. Parameter names and arithmetic are BasicSR's.

    Args:
        res_scale: factor of each block's residual.
        img_range: factor applied to the input after its mean is subtracted; BasicSR's checkpoints use 255.
        rgb_mean: mean of the images per channel, in [0, 1]; DIV2K's by default.
        trunk: as `TrunkOptions`; `upscale` is 3 or a power of two.
    """

    ladder = Ladder("EDSR", options={"img_range": 1.0})

    def __init__(
        self,
        res_scale: float = 1.0,
        img_range: float = 255.0,
        rgb_mean: Sequence[float] | None = None,
        **trunk: Any,
    ) -> None:
        super().__init__()
        options = self.Options(**trunk)
        if rgb_mean is None:
            rgb_mean = _DIV2K_GREY if options.num_in_ch == 1 else DIV2K_MEAN
        if len(rgb_mean) != options.num_in_ch:
            raise ValueError(f"rgb_mean has {len(rgb_mean)} values for {options.num_in_ch} input channels")
        num_feat = options.num_feat
        self.mean: Tensor
        self.img_range = img_range
        self.register_buffer("mean", torch.tensor(rgb_mean).view(1, -1, 1, 1), persistent=False)
        self.conv_first = options.first()
        self.body = options.blocks(lambda num_mid: ResidualBlock(num_feat, res_scale, num_mid=num_mid))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.upsample = Upsampler(options.upscale, num_feat)
        self.conv_last = options.last()

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 3, upscale H, upscale W), about [0, 1] (not clamped)."""
        x = x - self.mean
        x = self.conv_first(x if self.img_range == 1 else x * self.img_range)
        x = self._upsampled(self.conv_after_body(self.body(x)) + x)
        return (x if self.img_range == 1 else x / self.img_range) + self.mean

    def _upsampled(self, x: Tensor) -> Tensor:
        """`conv_last(upsample(x))`. In training the last two convolutions are one, unless hooks see their outputs."""
        *head, widening, shuffle = self.upsample
        if not may_merge(self, (self.upsample, widening, shuffle, self.conv_last)):
            output: Tensor = self.conv_last(self.upsample(x))
            return output
        for layer in head:
            x = layer(x)
        assert isinstance(shuffle, nn.PixelShuffle)
        return merged_tail(x, kernel_of(widening), kernel_of(self.conv_last), shuffle.upscale_factor)

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """EDSR with BasicSR's names (also traiNNer's) or EDSR-PyTorch's.

        What shapes do not determine takes those tools' defaults: img_range 255 (for EDSR-PyTorch inferred from its mean
        shift), DIV2K's mean, res_scale 0.1 for 256 or more features, else 1.
        """
        weights = _from_edsr_pytorch(state) if "head.0.weight" in state else dict(state)
        common = cls.recognise_trunk(weights)
        if common is None or "conv_after_body.weight" not in weights or "bn_after_body.weight" in weights:
            return None
        num_feat = common["num_feat"]
        widening = [tensor for key, tensor in weights.items() if re.fullmatch(r"upsample\.\d+\.weight", key)]
        steps = [shuffle_factor(len(tensor), num_feat) for tensor in widening]
        if steps != [3] and set(steps) != {2}:
            return None
        res_scale = 0.1 if num_feat >= 256 else 1.0
        return {**common, "upscale": math.prod(steps), "res_scale": res_scale, **_img_range(state)}, weights

    def fused(self) -> nn.Module:
        return FusedEDSR(self)

    def simulate_int8(self) -> None:
        if type(self) is EDSR:
            self.__class__ = Int8EDSR


def _img_range(state: State) -> dict[str, float]:
    """The img_range of an EDSR-PyTorch checkpoint, inferred from its mean shift's bias; {} for the default."""
    bias = state.get("sub_mean.bias")
    return {} if bias is None or bias.abs().max() > 1 else {"img_range": 1.0}


def _from_edsr_pytorch(state: State) -> dict[str, Tensor]:
    """EDSR-PyTorch's names (head, body, tail) to BasicSR's; the mean shifts are dropped."""
    last = last_number(r"body\.(\d+)\.", state)
    rules = [
        (r"head\.0\.", r"conv_first."),
        (rf"body\.{last}\.(weight|bias)", r"conv_after_body.\1"),
        (r"body\.(\d+)\.body\.0\.", r"body.\1.conv1."),
        (r"body\.(\d+)\.body\.2\.", r"body.\1.conv2."),
        (r"tail\.0\.(\d+)\.", r"upsample.\1."),
        (r"tail\.1\.", r"conv_last."),
    ]
    result = {}
    for key, tensor in state.items():
        if key.startswith(("sub_mean.", "add_mean.")):
            continue
        for pattern, replacement in rules:
            key = re.sub(f"^{pattern}", replacement, key)
        result[key] = tensor
    return result


class FusedEDSR(SubpixelOutput):
    """EDSR with img_range and output mean folded into its convolutions.

    The mean subtracted from the input cannot be folded: the first convolution pads with zeros *after* the subtraction,
    so a bias could replace it inside the image but not at the border. It stays a subtraction on three channels.

    The last convolution is moved before the last pixel shuffle, so that 3 channels are shuffled and not `num_feat`:
    memory traffic of feature maps is a quarter of a small network's time. That convolution and the one before it then
    differ from one convolution only at the border, and `Tail` merges them. Shapes and ranges as `EDSR`.
    """

    def __init__(self, network: EDSR) -> None:
        *head, widening, shuffle = network.upsample
        assert isinstance(shuffle, nn.PixelShuffle) and isinstance(widening, nn.Conv2d)
        super().__init__(shuffle.upscale_factor)
        self.mean: Tensor
        self.register_buffer("mean", network.mean)
        self.conv_first, self.conv_after_body = network.conv_first, network.conv_after_body
        self.body, last = network.body, network.conv_last
        self.upsample = nn.Sequential(*head)
        self.conv_first.weight.mul_(network.img_range)
        assert last.bias is not None
        last.weight.div_(network.img_range)
        last.bias.div_(network.img_range).add_(network.mean.flatten())
        self.tail = Tail(widening, before_shuffle(kernel_of(last), self.factor))

    def subpixels(self, x: Tensor, finish: Layer = same) -> Tensor:
        x = self.conv_first(x - self.mean)
        x = self.conv_after_body(self.body(x)) + x
        output: Tensor = self.tail(self.upsample(x), finish)
        return output


class Int8EDSR(EDSR):
    """EDSR rounded as in inference, where the last two convolutions are composed into one.

    If they were rounded separately, the network would learn to compensate for errors that inference does not make.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Shapes and ranges as `EDSR`."""
        x = self.conv_first((x - self.mean) * self.img_range)
        x = self.conv_after_body(self.body(x)) + x
        *head, widening, shuffle = self.upsample
        for layer in head:
            x = layer(x)
        assert isinstance(widening, Int8Conv2d) and isinstance(shuffle, nn.PixelShuffle)
        with torch.autocast(x.device.type, enabled=False):
            cells = self._tail(widening.rounded_input(x), kernel_of(widening), shuffle.upscale_factor)
        return to_pixels(cells, shuffle.upscale_factor) / self.img_range + self.mean

    def _tail(self, x: Tensor, first: Kernel, factor: int) -> Tensor:
        second = before_shuffle(kernel_of(self.conv_last), factor)
        weight, bias = composed(first, second)

        def both(x: Tensor) -> Tensor:
            return functional.conv2d(x, rounded_weights(weight), bias, padding=2)

        def edge(x: Tensor) -> Tensor:
            return functional.conv2d(functional.conv2d(x, *first, padding=1), *second, padding=1)

        return joined(x, both, edge)
