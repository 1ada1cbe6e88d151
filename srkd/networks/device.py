"""The device of a network, and devices by name."""

from __future__ import annotations

import os

import torch
from torch import nn

from srkd.errors import SrkdError


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's parameters; the CPU if it has none."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def device_named(name: str) -> torch.device:
    """The device with this name; `auto` is this process's GPU if one is available, else the CPU.

    Raises:
        SrkdError: the device is not available.
    """
    gpus = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % gpus) if gpus else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # the device `meta` has nothing to copy
        return device
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
        if reason.startswith("Expected one of"):  # torch lists all kinds that some build of it has
            reason = "name auto, cpu, cuda or, of several GPUs, cuda:1"
        raise SrkdError(f'device "{name}" is not available: {reason}') from error
