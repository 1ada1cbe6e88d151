"""Optimisers of `torch.optim` by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from srkd.errors import SrkdError, unknown
from srkd.training.recipe import Optimiser


def names() -> list[str]:
    """The optimisers that a recipe may name, sorted."""
    return sorted(name for name, kind in _kinds().items() if _objection(kind) is None)


def make_optimiser(parameters: Iterable[nn.Parameter], spec: Optimiser) -> Optimizer:
    """The optimiser that a recipe describes, fused where torch has it so.

    Its options are tried in a step of a small parameter, since many are looked at only then.

    Raises:
        SrkdError: no such optimiser or option; one that cannot train by batches of dense gradients.
    """
    kind = _kinds().get(spec.type)
    if kind is None:
        raise unknown("optimiser", spec.type, names())
    if objection := _objection(kind):
        raise SrkdError(f"optimiser {spec.type}: {objection}; there are {', '.join(names())}")
    given = spec.model_extra or {}
    options: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    if spec.type in ("Adam", "AdamW", "SGD") and not {"foreach", "differentiable"} & set(options):
        options.setdefault("fused", True)
    try:
        small = nn.Parameter(torch.zeros(2, 2))
        small.grad = torch.ones(2, 2)
        kind([small], lr=spec.lr, **options).step()  # type: ignore[call-arg]
        return kind([p for p in parameters if p.requires_grad], lr=spec.lr, **options)  # type: ignore[call-arg]
    except Exception as error:  # what torch raises of a wrong option is of every kind
        shown = ", ".join(f"{key}: {value!r}" for key, value in given.items())
        text = (str(error).splitlines() or [""])[0]
        raise SrkdError(f"optimiser {spec.type}: {text or type(error).__name__}, with {{{shown}}}") from error


def _kinds() -> dict[str, type[Optimizer]]:
    return {
        name: value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
    }


def _objection(kind: type[Optimizer]) -> str | None:
    """Why an optimiser cannot train by batches, or None."""
    if inspect.signature(kind.step).parameters["closure"].default is inspect.Parameter.empty:
        return "needs a closure that computes the loss again, and training gives none"
    return "takes sparse gradients, and networks' are dense" if kind is torch.optim.SparseAdam else None
