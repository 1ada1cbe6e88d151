"""Fusions for inference: arithmetic around convolutions that goes into their weights, the output staying the same.

What folds exactly: batch norm, res_scale, img_range, and the mean that EDSR adds to its output. What does not is the
mean that it takes off its input: the first convolution pads with zeros *after* that, so a bias can make up for the mean
inside the picture but not at its border. It stays a subtraction, of three channels.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srkd.sr.networks.blocks import ResidualBlock
from srkd.sr.networks.edsr import EDSR
from srkd.sr.networks.srresnet import NormedBlock, SRResNet


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
        self.tail = Tail(widening, before_shuffle(last, self.factor))

    def subpixels(self, x: Tensor, finish: Callable[[Tensor], Tensor] = lambda y: y) -> Tensor:
        """(N, 3, H, W) to what `finish` makes of the output before its last shuffle, (N, factor * factor * 3, h, w).

        Channel (i, j, c) is colour c of the pixel in row i and column j of a cell of factor x factor.
        """
        x = self.conv_first(x - self.mean)
        x = self.conv_after_body(self.body(x)) + x
        return self.tail(self.upsample(x), finish)

    def forward(self, x: Tensor) -> Tensor:
        y = self.subpixels(x)
        n, _, height, width = y.shape
        cells = y.reshape(n, self.factor, self.factor, -1, height, width)
        return cells.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, height * self.factor, width * self.factor)


class Tail(nn.Module):
    """Two 3x3 convolutions, one right after the other, as one of 5x5: with 16 channels and x2 a third of their work.

    Outside the picture the second one sees zeros, where the first one's values would go on. So the outermost pixels are
    made by the two themselves, from the three rows or columns that they depend on. Any height and width, (N, C, H, W).
    """

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d) -> None:
        super().__init__()
        self.both = composed(first, second)
        self.edge = nn.Sequential(first, second)

    def forward(self, x: Tensor, finish: Callable[[Tensor], Tensor] = lambda y: y) -> Tensor:
        """`finish` is done to the inside and to the edges before they are put together, which costs less with bytes."""
        # A picture of one row has a first one alone: the second slice leaves nothing of a last one.
        top, bottom = self.edge(x[:, :, :3])[:, :, :1], self.edge(x[:, :, -3:])[:, :, 1:][:, :, -1:]
        left, right = self.edge(x[..., :3])[..., :1], self.edge(x[..., -3:])[..., 1:][..., -1:]
        rows = torch.cat([finish(top), finish(self.both(x))[:, :, 1:-1], finish(bottom)], 2)
        return torch.cat([finish(left), rows[..., 1:-1], finish(right)], 3)


def composed(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """The 5x5 convolution that does what two of 3x3, both with a border of zeros, do away from the border."""
    both = nn.Conv2d(first.in_channels, second.out_channels, 5, 1, 2)
    inner, outer = first.weight.double(), second.weight.double()
    assert first.bias is not None and second.bias is not None and both.bias is not None
    both.weight.copy_(functional.conv2d(inner.transpose(0, 1), outer.flip(2, 3), padding=2).transpose(0, 1))
    both.bias.copy_(outer.sum((2, 3)) @ first.bias.double() + second.bias)
    return both


def before_shuffle(last: nn.Conv2d, factor: int) -> nn.Conv2d:
    """The 3x3 convolution that does before a pixel shuffle what `last`, 3x3 with a border of zeros, does after it.

    Its output channels are ordered (i, j, c), see `FusedEDSR.subpixels`. Exact at the border too: what lies outside the
    picture is zero on both sides of the shuffle.
    """
    out, into = last.weight.shape[:2]
    moved = nn.Conv2d(into * factor**2, out * factor**2, 3, 1, 1)
    kernel = torch.zeros(factor, factor, out, into, factor, factor, 3, 3)  # i, j, c; its inputs: channel, row, column
    for i, j, u, v in itertools.product(range(factor), range(factor), range(3), range(3)):
        down, row = divmod(i + u - 1, factor)
        right, column = divmod(j + v - 1, factor)
        kernel[i, j, :, :, row, column, down + 1, right + 1] += last.weight[:, :, u, v]
    moved.weight.copy_(kernel.reshape(moved.weight.shape))
    assert last.bias is not None and moved.bias is not None
    moved.bias.copy_(last.bias.repeat(factor**2))
    return moved


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
