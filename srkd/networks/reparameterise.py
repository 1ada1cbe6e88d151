"""Convolutions that are wider in training and the same 3x3 convolutions afterwards.

A 3x3 kernel is trained as a sum of linear branches (Zhang et al., "Edge-oriented Convolution Block for Real-time Super
Resolution on Mobile Devices", ACM MM 2021: ECBSR). The branches are added up as kernels, not as feature maps, so that a
step costs one convolution as before, and what is saved is the plain network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

# Sobel along each axis, Laplace (what an SR network's kernels end up doing much of) and the identity (a 1x1
# convolution). Their largest tap is 1, as K's share of one Adam step is, so that a branch does not multiply the
# learning rate.
_FILTERS = torch.tensor(
    [
        [[0.5, 0, -0.5], [1, 0, -1], [0.5, 0, -0.5]],
        [[0.5, 1, 0.5], [0, 0, 0], [-0.5, -1, -0.5]],
        [[0, 0.25, 0], [0.25, -1, 0.25], [0, 0.25, 0]],
        [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    ]
)


class Branches(nn.Module):
    """kernel = K + sum of fixed filters, each with its own matrix + squeeze (3x3) after expand (1x1).

    All but K begin at a product of 0, so that training starts from the plain network's weights. Shapes are those in
    which a kernel lies in channels_last memory, (out, taps, in), so that two matrix products add up everything.

    Args:
        weight: K, (out, in, 3, 3).
        expansion: channels between expand and squeeze, as a multiple of `out`; ECBSR's 2.
    """

    filters: Tensor

    def __init__(self, weight: Tensor, expansion: int = 2) -> None:
        super().__init__()
        out, into, height, width = weight.shape
        self.mixed = nn.Parameter(weight.new_zeros(out, len(_FILTERS), into))
        self.expand = nn.Parameter(weight.new_empty(expansion * out, into).normal_(0, 1 / (expansion * out)))
        self.squeeze = nn.Parameter(weight.new_zeros(out, height * width, expansion * out))
        self.register_buffer("filters", _FILTERS.flatten(1).t().to(weight), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """K, (out, in, 3, 3), to the kernel that the convolution uses."""
        out, into, height, width = weight.shape
        # A kernel's sum in bf16 would lose its smaller branches; it is tiny beside the convolution.
        with torch.autocast(weight.device.type, enabled=False):
            inner = (self.squeeze.flatten(0, 1) @ self.expand).view(out, height * width, into)
            kernel = torch.baddbmm(inner, self.filters.expand(out, -1, -1), self.mixed)
            return weight + kernel.view(out, height, width, into).permute(0, 3, 1, 2)


def widen(network: nn.Module) -> None:
    """Give every 3x3 convolution of one group its branches, in place; what the network computes stays the same."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.groups == 1:
            parametrize.register_parametrization(module, "weight", Branches(module.weight))


def folded(network: nn.Module) -> dict[str, Tensor]:
    """The weights of a network, branches added up: those of the plain network, under its names."""
    state = {key: value for key, value in network.state_dict().items() if ".parametrizations." not in f".{key}"}
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            state[f"{name}.weight" if name else "weight"] = module.weight.detach()
    return state
