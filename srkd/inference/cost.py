"""Size of a network, counted on the network itself; its speed is measured in `srkd.inference.speed`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from srkd.networks.device import device_of

_PROBE = 64


def parameters(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in network.parameters())


@torch.no_grad()
def multiply_adds(network: nn.Module, scale: int, height: int = 720, width: int = 1280) -> float:
    """Multiply-adds for an output of this size, as the literature counts them (1280x720).

    Counted on an input of 64x64 and scaled by area, which is exact for convolutions and for attention in windows.
    """
    probe = torch.zeros(1, 3, _PROBE, _PROBE, device=device_of(network))
    with FlopCounterMode(display=False) as counter:
        network(probe)
    return float(counter.get_total_flops() / 2 * (height / scale) * (width / scale) / _PROBE**2)


@torch.no_grad()
def activations(network: nn.Module) -> float:
    """Number of output values of all convolutions per input pixel, the usual measure of memory traffic."""
    total = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        total += output.numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    network(torch.zeros(1, 3, _PROBE, _PROBE, device=device_of(network)))
    for hook in hooks:
        hook.remove()
    return total / _PROBE**2
