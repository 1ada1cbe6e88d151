"""ETDS: Chao et al., "Equivalent Transformation and Dual Stream Network Construction for Mobile Image
Super-Resolution", CVPR 2023."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.networks.base import Ladder, Recognised, SRNetwork, State, last_number, shuffle_factor
from srkd.networks.registry import register
from srkd.networks.tail import Kernel, Layer, SubpixelOutput, cells_first, convolution, kernel_of, may_merge, same


@register("ETDS")
class ETDS(SRNetwork):
    """A backbone, and beside it a residual stream that starts as a copy of the image; one plain stack when fused.

    Names and arithmetic are the authors'. Published sizes at x2: T is 16 features and 5 blocks, M 32 and 6, L 48 and 7.
    In training, too, a layer is one convolution, whose kernel is put together in every step: three of 29 and 3 channels
    take longer than one of 32.

    Args:
        num_in_ch, num_out_ch: channels of the input and the output; equal.
        num_feat: channels of the fused network, of which `num_residual_feat` are the residual stream's.
        num_block: convolutions between the first and the last.
        upscale: any factor.
    """

    ladder = Ladder("ETDS", widths=(12, 16, 20, 24, 32, 48, 64), depths=(3, 5, 7), offered=False)

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 32,
        num_block: int = 6,
        upscale: int = 2,
        num_residual_feat: int = 3,
    ) -> None:
        super().__init__()
        if num_in_ch != num_out_ch or not num_feat > num_residual_feat >= num_in_ch:
            raise ValueError(
                "ETDS needs num_in_ch equal to num_out_ch, at most num_residual_feat, and that below num_feat; got "
                f"{num_in_ch}, {num_out_ch}, {num_residual_feat}, {num_feat}"
            )
        self.upscale = upscale
        wide, narrow, outputs = num_feat - num_residual_feat, num_residual_feat, num_out_ch * upscale**2

        def layers(inputs: int, features: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(inputs, features, 3, 1, 1) for _ in range(num_block))

        self.conv_first = nn.Conv2d(num_in_ch, wide, 3, 1, 1)
        self.conv_residual_first = nn.Conv2d(num_in_ch, narrow, 3, 1, 1)
        self.backbone_convs, self.residual_convs = layers(wide, wide), layers(narrow, narrow)
        self.add_residual_convs = layers(narrow, wide)
        self.conv_last = nn.Conv2d(wide, outputs, 3, 1, 1)
        self.conv_residual_last = nn.Conv2d(narrow, outputs, 3, 1, 1)
        self._copy_the_image(num_in_ch)

    def _copy_the_image(self, colours: int) -> None:
        """Initialise the residual stream to repeat each pixel, and to add nothing to the backbone."""
        copies: list[nn.Module] = [self.conv_residual_first, *self.residual_convs]
        nothing: list[nn.Module] = [self.conv_residual_last, *self.add_residual_convs]
        for layer in (*copies, *nothing):
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.zeros_(layer.bias)
            nn.init.dirac_(layer.weight) if layer in copies else nn.init.zeros_(layer.weight)
        cells = self.upscale**2
        with torch.no_grad():
            for colour in range(colours):
                self.conv_residual_last.weight[colour * cells : (colour + 1) * cells, colour, 1, 1] = 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, C, upscale H, upscale W), about [0, 1] (not clamped)."""
        if self._one_stack():
            *kernels, last = self.kernels()
            for kernel in kernels:
                x = F.relu(F.conv2d(x, *kernel, padding=1))
            return F.pixel_shuffle(F.conv2d(x, *last, padding=1), self.upscale)
        residue = F.relu(self.conv_residual_first(x))
        x = F.relu(self.conv_first(x))
        streams = zip(self.backbone_convs, self.residual_convs, self.add_residual_convs, strict=True)
        for backbone, along, add in streams:
            x, residue = F.relu(backbone(x) + add(residue)), F.relu(along(residue))
        return F.pixel_shuffle(self.conv_last(x) + self.conv_residual_last(residue), self.upscale)

    def _one_stack(self) -> bool:
        """Whether both streams are computed as one: in training, unless a convolution has hooks or another class."""
        layers = [module for module in self.modules() if isinstance(module, nn.Conv2d)]
        return may_merge(self, layers) and all(type(layer) is nn.Conv2d for layer in layers)

    def kernels(self) -> list[Kernel]:
        """Those of the stack of convolutions that equals both streams, first to last."""
        stack = [_above(kernel_of(self.conv_first), kernel_of(self.conv_residual_first))]
        streams = zip(self.backbone_convs, self.residual_convs, self.add_residual_convs, strict=True)
        for backbone, along, add in streams:
            upper = _beside(kernel_of(backbone), kernel_of(add))
            weight, bias = kernel_of(along)
            nothing = weight.new_zeros(len(weight), upper[0].shape[1] - weight.shape[1], 3, 3)
            stack.append(_above(upper, (torch.cat([nothing, weight], 1), bias)))
        return [*stack, _beside(kernel_of(self.conv_last), kernel_of(self.conv_residual_last))]

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """The authors' training form."""
        first, residual = state.get("conv_first.weight"), state.get("conv_residual_first.weight")
        if first is None or residual is None or first.dim() != 4 or "conv_last.bias" not in state:
            return None
        upscale = shuffle_factor(len(state["conv_last.bias"]), first.shape[1])
        if upscale == 0:
            return None
        num_block = 1 + last_number(r"backbone_convs\.(\d+)\.", state)
        channels = {"num_in_ch": first.shape[1], "num_out_ch": first.shape[1], "num_residual_feat": len(residual)}
        sizes = {"num_feat": len(first) + len(residual), "num_block": num_block}
        return {**channels, **sizes, "upscale": upscale}, dict(state)

    def fused(self) -> nn.Module:
        return FusedETDS(self)


class FusedETDS(SubpixelOutput):
    """Both streams of ETDS as one stack of convolutions; the shuffle comes last."""

    def __init__(self, network: ETDS) -> None:
        super().__init__(network.upscale)
        *kernels, last = network.kernels()
        layers = [layer for kernel in kernels for layer in (convolution(kernel), nn.ReLU(inplace=True))]
        self.body = nn.Sequential(*layers, convolution(cells_first(last, self.factor)))

    def subpixels(self, x: Tensor, finish: Layer = same) -> Tensor:
        return finish(self.body(x))


def _above(upper: Kernel, lower: Kernel) -> Kernel:
    """The convolution whose outputs are those of two, of the same input."""
    return torch.cat([upper[0], lower[0]]), torch.cat([upper[1], lower[1]])


def _beside(left: Kernel, right: Kernel) -> Kernel:
    """The convolution of two inputs that is the sum of one of each."""
    return torch.cat([left[0], right[0]], 1), left[1] + right[1]
