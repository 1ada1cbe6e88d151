"""Check that a loaded network's output is finite and has the size that its scale implies."""

from __future__ import annotations

import torch
from torch import nn

from srkd.errors import SrkdError
from srkd.networks.sides import Sides

_SIDES = (16, 64)  # in pixels; many windowed networks need at least 64


@torch.inference_mode()
def check_output(network: nn.Module, scale: int, sides: Sides, origin: str) -> None:
    """Run a network in eval mode on a small grey ramp.

    A network that fails on both sizes is not checked; running it will report why.

    Raises:
        SrkdError: the output is not `scale` times the input's size with 3 channels, or contains NaN or infinity.
    """
    for side in (sides.fitting(side, side)[0] for side in _SIDES):
        ramp = torch.linspace(0, 1, side).expand(1, 3, side, side).contiguous()
        try:
            output = network(ramp)
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError):
            continue
        if not isinstance(output, torch.Tensor):
            return
        height, width = output.shape[-2:]
        if output.shape != (1, 3, side * scale, side * scale):
            raise SrkdError(
                f"{origin}: described as a network for x{scale}, but upscales {side}x{side} to {width}x{height} pixels"
            )
        if not torch.isfinite(output).all():
            raise SrkdError(
                f"{origin}: its weights are too large: the output is not finite, and images would be black; use a "
                "checkpoint from before its training diverged"
            )
        return
