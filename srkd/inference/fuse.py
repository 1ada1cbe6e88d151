"""Fusions for inference: arithmetic around convolutions is folded into their weights; the output stays the same.

Batch norm, res_scale, img_range and the mean that EDSR adds to its output fold exactly. The mean subtracted from the
input does not: the first convolution pads with zeros *after* the subtraction, so a bias could replace it inside the
image but not at the border. It stays a subtraction on three channels.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srkd.networks.blocks import ResidualBlock
from srkd.networks.edsr import EDSR
from srkd.networks.srresnet import NormedBlock, SRResNet
from srkd.networks.tail import Kernel, Layer, before_shuffle, composed, joined, kernel_of, same, to_pixels


class FusedEDSR(nn.Module):
    """EDSR with img_range, res_scale and output mean folded into its convolutions; created by `fuse`.

    The last convolution is moved before the last pixel shuffle, so that 3 channels are shuffled and not `num_feat`:
    memory traffic of feature maps is a quarter of a small network's time. That convolution and the one before it then
    differ from one convolution only at the border, and `Tail` merges them. Shapes and ranges as `EDSR`.
    """

    factor: int

    def __init__(self, network: EDSR) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", network.mean)
        self.conv_first, self.conv_after_body = network.conv_first, network.conv_after_body
        self.body, last = network.body, network.conv_last
        *head, widening, shuffle = network.upsample
        assert isinstance(shuffle, nn.PixelShuffle) and isinstance(widening, nn.Conv2d)
        self.upsample, self.factor = nn.Sequential(*head), shuffle.upscale_factor
        self.conv_first.weight.mul_(network.img_range)
        assert last.bias is not None
        last.weight.div_(network.img_range)
        last.bias.div_(network.img_range).add_(network.mean.flatten())
        self.tail = Tail(widening, before_shuffle(kernel_of(last), self.factor))

    def subpixels(self, x: Tensor, finish: Layer = same) -> Tensor:
        """(N, 3, H, W) to `finish` of the output before the last shuffle, (N, factor * factor * 3, h, w).

        Channel (i, j, c) is colour c of the pixel in row i and column j of a cell of factor x factor.
        """
        x = self.conv_first(x - self.mean)
        x = self.conv_after_body(self.body(x)) + x
        return self.tail(self.upsample(x), finish)

    def forward(self, x: Tensor) -> Tensor:
        return to_pixels(self.subpixels(x), self.factor)


class Tail(nn.Module):
    """Two 3x3 convolutions as one of 5x5: with 16 channels and x2 a third of the multiply-adds. See
    `networks.tail.joined`.

    `second` is given by its weight and bias.
    """

    def __init__(self, first: nn.Conv2d, second: Kernel) -> None:
        super().__init__()
        self.both = _convolution(composed(kernel_of(first), second))
        self.edge = nn.Sequential(first, _convolution(second))

    def forward(self, x: Tensor, finish: Layer = same) -> Tensor:
        return joined(x, self.both, self.edge, finish)


def _convolution(kernel: Kernel) -> nn.Conv2d:
    weight, bias = kernel
    out, into, side, _ = weight.shape
    convolution = nn.Conv2d(into, out, side, 1, side // 2)
    convolution.weight.copy_(weight)
    assert convolution.bias is not None
    convolution.bias.copy_(bias)
    return convolution


@torch.no_grad()
def fuse(network: nn.Module) -> nn.Module:
    """A copy of `network` for inference with the same output within 1e-5, in eval mode.

    EDSR becomes a `FusedEDSR`. In SRResNet each batch norm is folded into the convolution before it. MSRResNet, which
    has nothing to fold, and any other network are copied unchanged.
    """
    fused = copy.deepcopy(network).eval()
    for module in fused.modules():
        if isinstance(module, ResidualBlock):
            _fold_res_scale(module)
        elif isinstance(module, NormedBlock):
            _fold_norm(module, "conv1", "bn1")
            _fold_norm(module, "conv2", "bn2")
        elif isinstance(module, SRResNet):
            _fold_norm(module, "conv_after_body", "bn_after_body")
    return FusedEDSR(fused).eval() if isinstance(fused, EDSR) else fused


def _fold_res_scale(block: ResidualBlock) -> None:
    block.conv2.weight.mul_(block.res_scale)
    assert block.conv2.bias is not None
    block.conv2.bias.mul_(block.res_scale)
    block.res_scale = 1.0


def _fold_norm(owner: nn.Module, convolution: str, norm: str) -> None:
    setattr(owner, convolution, fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm)))
    setattr(owner, norm, nn.Identity())
