"""Fusions for inference: arithmetic around convolutions that goes into their weights, the output staying the same.

What folds exactly: batch norm, res_scale, img_range, and the mean that EDSR adds to its output. What does not is the
mean that it takes off its input: the first convolution pads with zeros *after* that, so a bias can make up for the mean
inside the image but not at its border. It stays a subtraction, of three channels.
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
    """EDSR whose img_range, res_scale and output mean are in its convolutions; made by `fuse`.

    Its last convolution comes before the last pixel shuffle instead of after it, so that 3 channels are shuffled and
    not `num_feat`: moving feature maps about costs a small network a quarter of its time. Then nothing but a border is
    between that convolution and the one before it, and `Tail` makes them one. Shapes and ranges as `EDSR`.
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
        """(N, 3, H, W) to what `finish` makes of the output before its last shuffle, (N, factor * factor * 3, h, w).

        Channel (i, j, c) is colour c of the pixel in row i and column j of a cell of factor x factor.
        """
        x = self.conv_first(x - self.mean)
        x = self.conv_after_body(self.body(x)) + x
        return self.tail(self.upsample(x), finish)

    def forward(self, x: Tensor) -> Tensor:
        return to_pixels(self.subpixels(x), self.factor)


class Tail(nn.Module):
    """Two 3x3 convolutions as one of 5x5: with 16 channels and x2 a third of their work. See `networks.tail.joined`.

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
    made = nn.Conv2d(into, out, side, 1, side // 2)
    made.weight.copy_(weight)
    assert made.bias is not None
    made.bias.copy_(bias)
    return made


@torch.no_grad()
def fuse(network: nn.Module) -> nn.Module:
    """A copy of `network` for inference with the same output within 1e-5, in eval mode.

    EDSR becomes a `FusedEDSR`; in SRResNet each batch norm becomes the identity, its values in the convolution before
    it; MSRResNet, which has nothing to fold, and any other network are copied as they are.
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
