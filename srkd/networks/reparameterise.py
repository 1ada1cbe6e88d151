"""Re-parameterised convolutions: several branches in training, one 3x3 convolution afterwards.

A 3x3 kernel is trained as a sum of linear branches (Zhang et al., "Edge-oriented Convolution Block for Real-time Super
Resolution on Mobile Devices", ACM MM 2021: ECBSR). The branches are summed as kernels, not as feature maps, so that a
step costs one convolution as before, and the plain network is saved.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

# Sobel along each axis, Laplacian (common among trained SR kernels) and the identity (a 1x1 convolution). Their largest
# tap is 1, like K's share of one Adam step, so that a branch does not multiply the learning rate.
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

    All branches but K start at zero, so that training starts from the plain network's weights. Shapes follow a kernel's
    channels_last memory layout, (out, taps, in), so that two matrix products compute the sum.

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
        # Summing kernels in bf16 would lose the smaller branches; the cost is tiny next to the convolution.
        with torch.autocast(weight.device.type, enabled=False):
            inner = (self.squeeze.flatten(0, 1) @ self.expand).view(out, height * width, into)
            kernel = torch.baddbmm(inner, self.filters.expand(out, -1, -1), self.mixed)
            return weight + kernel.view(out, height, width, into).permute(0, 3, 1, 2)


def widen(network: nn.Module) -> None:
    """Add branches to every 3x3 convolution of one group, in place; the network's output does not change."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.groups == 1:
            parametrize.register_parametrization(module, "weight", Branches(module.weight))


def folded(network: nn.Module) -> dict[str, Tensor]:
    """The weights of the plain network, under its names, with the branches summed into each kernel."""
    state = dict(network.state_dict())
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module, "weight") and isinstance(module.parametrizations.weight[0], Branches):
            prefix = f"{name}." if name else ""
            state = {key: value for key, value in state.items() if not key.startswith(f"{prefix}parametrizations.")}
            state[f"{prefix}weight"] = module.weight.detach()
    return state
