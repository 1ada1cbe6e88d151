"""Narrower layers in a network whose options cannot describe them: a spec's `pruned_channels`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.PReLU)  # the layers that can be narrower


def widths(network: nn.Module) -> dict[str, list[int]]:
    """{path: [outputs, inputs]} of the layers that can be narrower; without inputs for batch norm and PReLU."""
    return {
        path: list(module.weight.shape[:2]) for path, module in network.named_modules() if isinstance(module, LAYERS)
    }


@torch.no_grad()
def narrow(network: nn.Module, channels: Mapping[str, Sequence[int]]) -> None:
    """Reduce layers of `network`, in place, to the first channels of each.

    Args:
        channels: {path: [outputs, inputs]}, as `widths`; other layers are not changed.

    Raises:
        ValueError: a path that is not such a layer, or more channels than it has.
    """
    known = widths(network)
    for path, wanted in channels.items():
        given = known.get(path)
        if (
            given is None
            or len(given) != len(wanted)
            or not all(0 < w <= g for w, g in zip(wanted, given, strict=True))
        ):
            raise ValueError(f"pruned_channels: {path} cannot have {list(wanted)} channels, the network has {given}")
        _narrow(network.get_submodule(path), wanted)


def _narrow(layer: nn.Module, wanted: Sequence[int]) -> None:
    outputs = len(layer.weight)  # type: ignore[arg-type]
    tensors = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    for name, tensor in tensors:
        if tensor.dim() > 1:
            reduced = tensor[: wanted[0], : wanted[1]].clone()
        elif tensor.dim() == 1 and len(tensor) == outputs:
            reduced = tensor[: wanted[0]].clone()
        else:
            continue
        setattr(layer, name, nn.Parameter(reduced) if isinstance(tensor, nn.Parameter) else reduced)
    if isinstance(layer, nn.Conv2d):
        if layer.groups == layer.out_channels > 1:  # depthwise
            layer.groups = layer.in_channels = layer.out_channels = wanted[0]
        else:
            layer.out_channels, layer.in_channels = wanted[0], wanted[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = wanted
    elif isinstance(layer, nn.BatchNorm2d):
        layer.num_features = wanted[0]
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = wanted[0]
