"""Knowledge-distillation and task losses, each in the file of its registered name, looked up by that name.

A loss maps tensors to a scalar and is independent of images, recipes and training loops.

    >>> import torch, srkd.losses
    >>> loss = srkd.losses.build("output", norm="l1")
    >>> loss(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)).item()
    1.0
"""

from srkd.losses.base import Example, Loss
from srkd.losses.registry import build, describe, get, names, options, register

__all__ = ["Example", "Loss", "build", "describe", "get", "names", "options", "register"]
