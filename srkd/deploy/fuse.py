"""Fusions for inference: arithmetic around convolutions that goes into their weights, the output staying the same.

What folds exactly: batch norm, res_scale, img_range, and the mean that EDSR adds to its output. What does not is the
mean that it takes off its input: the first convolution pads with zeros *after* that, so a bias can make up for the mean
inside the picture but not at its border. It stays a subtraction, of three channels.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srkd.sr.networks.blocks import ResidualBlock
from srkd.sr.networks.edsr import EDSR
from srkd.sr.networks.srresnet import NormedBlock, SRResNet


class FusedEDSR(nn.Module):
    """EDSR whose img_range, res_scale and output mean are in its convolutions; made by `fuse`.

    Shapes and ranges as `EDSR`; parameter names too.
    """

    def __init__(self, network: EDSR) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", network.mean)
        self.conv_first, self.conv_after_body = network.conv_first, network.conv_after_body
        self.body, self.upsample, self.conv_last = network.body, network.upsample, network.conv_last
        self.conv_first.weight.mul_(network.img_range)
        self.conv_last.weight.div_(network.img_range)
        assert self.conv_last.bias is not None
        self.conv_last.bias.div_(network.img_range).add_(network.mean.flatten())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(x - self.mean)
        x = self.conv_after_body(self.body(x)) + x
        return self.conv_last(self.upsample(x))


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
