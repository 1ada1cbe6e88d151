"""Optimisers of `torch.optim` by name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from srkd.engine.recipe import Optimiser
from srkd.errors import SrkdError, unknown


def make_optimiser(parameters: Iterable[nn.Parameter], spec: Optimiser) -> Optimizer:
    """The optimiser that a recipe describes, fused where torch has it so.

    Raises:
        SrkdError: no such optimiser or option.
    """
    known = [name for name, value in vars(torch.optim).items()
             if isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer]  # fmt: skip
    if spec.type not in known:
        raise unknown("optimiser", spec.type, known)
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in (spec.model_extra or {}).items()}
    if spec.type in ("Adam", "AdamW", "SGD"):
        options.setdefault("fused", True)
    try:
        return getattr(torch.optim, spec.type)([p for p in parameters if p.requires_grad], lr=spec.lr, **options)
    except (TypeError, ValueError) as error:
        raise SrkdError(f"optimiser {spec.type}: {error}") from error
