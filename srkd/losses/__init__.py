"""The loss core: every knowledge-distillation and task loss, one file a family, found by name.

Tensors in, scalar out; nothing here knows about images, recipes or training loops.

    >>> import torch, srkd.losses
    >>> loss = srkd.losses.build("output", norm="l1")
    >>> loss(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)).item()
    1.0
"""

from srkd.losses.base import Example, Loss
from srkd.losses.registry import build, describe, get, names, options, register

__all__ = ["Example", "Loss", "build", "describe", "get", "names", "options", "register"]
