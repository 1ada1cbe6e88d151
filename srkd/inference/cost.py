"""Cost of a network: parameters, multiply-adds, latency, measured on the network itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from srkd.networks.infer import device_of

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
    return counter.get_total_flops() / 2 * (height / scale) * (width / scale) / _PROBE**2


@torch.inference_mode()
def latency_ms(network: nn.Module, height: int = 256, width: int = 256, seconds: float = 2.0) -> float:
    """Median milliseconds of one forward pass in fp32, channels last, at batch 1.

    Args:
        height, width: input size in pixels.
        seconds: how long to measure, after one warm-up pass; at least three passes are timed.
    """
    device = device_of(network)
    x = torch.rand(1, 3, height, width, device=device).to(memory_format=torch.channels_last)
    network(x)
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        _wait(device)
        start = time.perf_counter()
        network(x)
        _wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def median_ms(function: Callable[[], object], seconds: float) -> float:
    """Median milliseconds of a call over `seconds`, after two warm-up calls; at least three calls are timed.

    If one call takes more than `seconds`, only one is timed, after the two warm-up calls.
    """
    function()
    fewest = 1 if _timed(function) > seconds else 3
    times: list[float] = []
    while len(times) < fewest or sum(times) < seconds:
        times.append(_timed(function))
    return 1000 * statistics.median(times)


def _timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
