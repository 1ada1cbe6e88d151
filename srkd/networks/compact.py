"""Plain stacks of convolutions: SRVGGNetCompact (Real-ESRGAN) and ECBSR, which is the same network once fused.

Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", ICCVW 2021; Zhang et
al., "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices", ACM MM 2021.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.networks.base import Ladder, Recognised, SRNetwork, State, last_number, shuffle_factor
from srkd.networks.registry import register
from srkd.networks.tail import Kernel, Layer, SubpixelOutput, cells_first, convolution, kernel_of, same

_ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "prelu": lambda num_feat: nn.PReLU(num_parameters=num_feat),
    "relu": lambda num_feat: nn.ReLU(inplace=True),
    "leakyrelu": lambda num_feat: nn.LeakyReLU(negative_slope=0.1, inplace=True),
}


@register("SRVGGNetCompact")
class SRVGGNetCompact(SRNetwork):
    """3x3 convolutions with an activation each, a pixel shuffle, and the nearest-neighbour image added.

    Parameter names and arithmetic are BasicSR's. ECBSR-M4C16 is 16 features and 4 convolutions (11,548 parameters at
    x2), M4C32 41,516, M6C40 92,372; its training form is `train.reparameterise` in a recipe.

    Args:
        num_in_ch, num_out_ch: channels of the input and the output; equal.
        num_feat, num_conv: channels, and convolutions between the first and the last.
        upscale: any factor.
        act_type: prelu, relu or leakyrelu (0.1).
    """

    ladder = Ladder("Compact", depth="num_conv")

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_conv: int = 16,
        upscale: int = 4,
        act_type: str = "prelu",
    ) -> None:
        super().__init__()
        if act_type not in _ACTIVATIONS:
            raise ValueError(f"act_type must be one of {', '.join(_ACTIVATIONS)}, got {act_type}")
        if num_in_ch != num_out_ch:
            raise ValueError(f"num_in_ch {num_in_ch} and num_out_ch {num_out_ch} must be equal: the input is added")
        self.upscale = upscale
        self.body = nn.ModuleList()
        for inputs in (num_in_ch, *[num_feat] * num_conv):
            self.body += [nn.Conv2d(inputs, num_feat, 3, 1, 1), _ACTIVATIONS[act_type](num_feat)]
        self.body.append(nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, 1, 1))
        self.upsampler = nn.PixelShuffle(upscale)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, C, upscale H, upscale W), about [0, 1] (not clamped)."""
        y = x
        for layer in self.body:
            y = layer(y)
        output: Tensor = self.upsampler(y) + F.interpolate(x, scale_factor=self.upscale, mode="nearest")
        return output

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """SRVGGNetCompact with PReLU, and ECBSR's training or plain form, which is fused.

        Shapes do not tell ECBSR's option with_idt, which is taken as False, as its authors' files have it.
        """
        weights = _from_ecbsr(state) if "backbone.0.conv3x3.weight" in state else dict(state)
        last = last_number(r"body\.(\d+)\.weight$", weights)
        names = {f"body.{i}.{part}" for i in range(0, last + 1, 2) for part in ("weight", "bias")}
        slopes = {f"body.{i}.weight" for i in range(1, last, 2)}
        if last < 2 or last % 2 or not names <= weights.keys() or weights["body.0.weight"].dim() != 4:
            return None
        num_feat, num_in_ch = weights["body.0.weight"].shape[:2]
        upscale = shuffle_factor(len(weights[f"body.{last}.weight"]), num_in_ch)
        if upscale == 0 or not (slopes <= weights.keys() or slopes.isdisjoint(weights)):
            return None
        act_type = "prelu" if slopes <= weights.keys() else "relu"
        sizes = {"num_in_ch": num_in_ch, "num_out_ch": num_in_ch, "num_feat": num_feat, "num_conv": last // 2 - 1}
        return {**sizes, "upscale": upscale, "act_type": act_type}, weights

    def fused(self) -> nn.Module:
        return FusedCompact(self)


class FusedCompact(SubpixelOutput):
    """SRVGGNetCompact whose pixel shuffle comes last, after the input was added to every pixel of a cell."""

    def __init__(self, network: SRVGGNetCompact) -> None:
        super().__init__(network.upscale)
        *layers, last = network.body
        assert isinstance(last, nn.Conv2d)
        self.body = nn.Sequential(*layers, convolution(cells_first(kernel_of(last), self.factor)))

    def subpixels(self, x: Tensor, finish: Layer = same) -> Tensor:
        return finish(self.body(x) + x.repeat(1, self.factor**2, 1, 1))


def _from_ecbsr(state: State) -> dict[str, Tensor]:
    """ECBSR's weights, of blocks with branches or fused, as those of a plain stack."""
    result = {}
    for number in range(1 + last_number(r"backbone\.(\d+)\.conv3x3\.weight", state)):
        block = {
            key.removeprefix(f"backbone.{number}."): value
            for key, value in state.items()
            if key.startswith(f"backbone.{number}.")
        }
        result[f"body.{2 * number}.weight"], result[f"body.{2 * number}.bias"] = _merged(block)
        if "act.weight" in block:
            result[f"body.{2 * number + 1}.weight"] = block["act.weight"]
    return result


def _merged(block: State) -> Kernel:
    """The convolution equal to an edge-oriented block: a 3x3 convolution and branches of 1x1, then 3x3 convolutions.

    A branch pads its middle with the bias of its 1x1 convolution, so that it equals one convolution at the border too.
    """
    weight, bias = block["conv3x3.weight"].double(), block["conv3x3.bias"].double()
    for branch in {key.split(".")[0] for key in block if re.match(r"conv1x1_\w+\.k0$", key)}:
        part = {key.removeprefix(f"{branch}."): value.double() for key, value in block.items() if branch in key}
        inner = part["k0"][:, :, 0, 0]
        if "k1" in part:
            outer, outer_bias = part["k1"], part["b1"]
        else:
            outer = torch.diag_embed((part["scale"] * part["mask"])[:, 0].permute(1, 2, 0)).permute(2, 3, 0, 1)
            outer_bias = part["bias"]
        weight = weight + torch.einsum("omhw,mi->oihw", outer, inner)
        bias = bias + torch.einsum("omhw,m->o", outer, part["b0"]) + outer_bias
    dtype = block["conv3x3.weight"].dtype
    return weight.to(dtype), bias.to(dtype)
