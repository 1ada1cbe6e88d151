"""Re-parameterised convolutions: several branches in training, one 3x3 convolution afterwards.

A 3x3 kernel is trained as a sum of linear branches (Zhang et al., "Edge-oriented Convolution Block for Real-time Super
Resolution on Mobile Devices", ACM MM 2021: ECBSR). The branches are summed as kernels, not as feature maps, so that a
step costs one convolution as before, and the plain network is saved. The kernels of all convolutions of one shape are
computed together: one by one, their hundreds of small operations take a fifth of a small student's training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

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


NAME = "kernel_branches"  # of the submodule with all branches that `widen` adds


class Branches(nn.Module):
    """The kernels and biases of convolutions of one shape; `weight`, K, and `bias` are theirs, stacked.

    kernel = K + sum of fixed filters, each with its own matrix + squeeze (3x3) after expand (1x1).

    All branches but K start at zero, so that training starts from the plain network's weights. Shapes follow a kernel's
    channels_last memory layout, (out, taps, in), so that two matrix products compute the sums.

    Args:
        convolutions: 3x3, of one group and equal shapes. They keep no parameters: `install` gives them their tensors.
        expansion: channels between expand and squeeze, as a multiple of `out`; ECBSR's 2.
    """

    filters: Tensor
    bias: nn.Parameter | None

    def __init__(self, convolutions: Sequence[nn.Conv2d], expansion: int = 2) -> None:
        super().__init__()
        self.convolutions = tuple(convolutions)  # not a list of submodules: the network has them already
        weight = torch.stack([each.weight.detach() for each in convolutions])
        count, out, into, height, width = self.shape = weight.shape
        taps = weight.permute(0, 1, 3, 4, 2).reshape(count * out, height * width, into)
        self.weight = nn.Parameter(taps.contiguous())
        self.mixed = nn.Parameter(weight.new_zeros(count * out, len(_FILTERS), into))
        self.expand = nn.Parameter(weight.new_empty(count, expansion * out, into).normal_(0, 1 / (expansion * out)))
        self.squeeze = nn.Parameter(weight.new_zeros(count, out * height * width, expansion * out))
        biases = [each.bias.detach() for each in convolutions if each.bias is not None]
        self.register_parameter("bias", nn.Parameter(torch.stack(biases)) if biases else None)
        self.register_buffer("filters", _FILTERS.flatten(1).t().to(weight), persistent=False)
        for each in convolutions:
            each._parameters.pop("weight")
            if each.bias is not None:
                each._parameters.pop("bias")

    def kernels(self) -> Tensor:
        """The kernels that the convolutions use, (convolutions, out, in, 3, 3)."""
        count, out, into, height, width = self.shape
        # Summing kernels in bf16 would lose the smaller branches; the cost is tiny next to the convolution.
        with torch.autocast(self.weight.device.type, enabled=False):
            kernel = torch.baddbmm(self.weight.view(count, -1, into), self.squeeze, self.expand)
            kernel = torch.baddbmm(kernel.view_as(self.weight), self.filters.expand(count * out, -1, -1), self.mixed)
            return kernel.view(count, out, height, width, into).permute(0, 1, 4, 2, 3)

    def tensors(self) -> Iterator[tuple[nn.Conv2d, dict[str, Tensor]]]:
        """Each convolution with its weight and, if it has one, its bias; in autocast, in its data type."""
        names = {"weight": self.kernels()} | ({} if self.bias is None else {"bias": self.bias})
        device = self.weight.device.type
        if torch.is_autocast_enabled(device):  # one conversion instead of one by each convolution
            names = {name: each.to(torch.get_autocast_dtype(device)) for name, each in names.items()}
        parts = zip(*(each.unbind() for each in names.values()), strict=True)
        for convolution, values in zip(self.convolutions, parts, strict=True):
            yield convolution, dict(zip(names, values, strict=True))

    def install(self) -> None:
        """Give the convolutions their tensors."""
        for convolution, tensors in self.tensors():
            # Not by setattr, whose checks for parameters and submodules would take longer than the sums.
            convolution.__dict__.update(tensors)

    def release(self) -> None:
        """Detach the convolutions' tensors from their graph, which would otherwise outlive the step."""
        for convolution in self.convolutions:
            held = convolution.__dict__
            held.update({name: held[name].detach() for name in ("weight", "bias") if name in held})


def widen(network: nn.Module) -> None:
    """Add branches to every 3x3 convolution of one group, in place; the network's output does not change.

    The convolutions then have no parameters of their own. They get their tensors whenever `network` is called, so its
    parts must not be called without it after a step.
    """
    groups: dict[tuple[Any, ...], list[nn.Conv2d]] = {}
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.groups == 1:
            groups.setdefault((module.weight.shape, module.bias is None), []).append(module)
    branches = nn.ModuleList(Branches(group) for group in groups.values())
    network.add_module(NAME, branches)
    with torch.no_grad():
        _install(network)
    network.register_forward_pre_hook(_install)
    network.register_forward_hook(_release)


def _install(network: nn.Module, *_: Any) -> None:
    for each in _branches(network):
        each.install()


def _release(network: nn.Module, *_: Any) -> None:
    for each in _branches(network):
        each.release()


def _branches(network: nn.Module) -> list[Branches]:
    return [each for each in getattr(network, NAME, ()) if isinstance(each, Branches)]


def folded(network: nn.Module) -> dict[str, Tensor]:
    """The weights of the plain network, under its names, with the branches summed into each kernel."""
    state, names = dict(network.state_dict()), {module: name for name, module in network.named_modules()}
    state = {key: value for key, value in state.items() if not key.startswith(f"{NAME}.")}
    for branches in _branches(network):
        for convolution, tensors in branches.tensors():
            prefix = f"{names[convolution]}." if names[convolution] else ""
            state |= {f"{prefix}{name}": tensor.detach() for name, tensor in tensors.items()}
    return state
