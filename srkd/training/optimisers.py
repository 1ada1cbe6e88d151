"""Optimisers by name: those of `torch.optim`, and SOAP."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from srkd.errors import SrkdError, unknown
from srkd.training.recipe import Optimiser
from srkd.training.soap import SOAP


def names() -> list[str]:
    """Names of the supported optimisers, sorted."""
    return sorted(name for name, kind in _kinds().items() if _limitation(kind) is None)


def make_optimiser(parameters: Iterable[nn.Parameter], spec: Optimiser) -> Optimizer:
    """The optimiser that a recipe describes, fused where torch supports it.

    Its options are tested by a step on a small parameter, since many are only checked there.

    Raises:
        SrkdError: unknown optimiser or option; an optimiser that cannot use mini-batches or dense gradients.
    """
    kind = _kinds().get(spec.type)
    if kind is None:
        raise unknown("optimiser", spec.type, names())
    if limitation := _limitation(kind):
        raise SrkdError(f"optimiser {spec.type}: {limitation}; supported: {', '.join(names())}")
    given = spec.model_extra or {}
    options: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    if spec.type in ("Adam", "AdamW", "SGD") and not {"foreach", "differentiable"} & set(options):
        options.setdefault("fused", True)
    try:
        small = nn.Parameter(torch.zeros(2, 2))
        small.grad = torch.ones(2, 2)
        kind([small], lr=spec.lr, **options).step()  # type: ignore[call-arg]
        return kind([p for p in parameters if p.requires_grad], lr=spec.lr, **options)  # type: ignore[call-arg]
    except Exception as error:  # torch raises various exceptions for invalid options
        options_text = ", ".join(f"{key}: {value!r}" for key, value in given.items())
        text = (str(error).splitlines() or [""])[0]
        raise SrkdError(f"optimiser {spec.type}: {text or type(error).__name__}, with {{{options_text}}}") from error


def _kinds() -> dict[str, type[Optimizer]]:
    kinds = {
        name: value
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
    }
    return kinds | {"SOAP": SOAP}


def _limitation(kind: type[Optimizer]) -> str | None:
    """Why an optimiser is not supported, or None."""
    if inspect.signature(kind.step).parameters["closure"].default is inspect.Parameter.empty:
        return "needs a closure that recomputes the loss, which is not supported"
    return {
        "SparseAdam": "needs sparse gradients, but networks have dense ones",
        "Muon": "updates matrices only, not convolutions and biases; SOAP does",
    }.get(kind.__name__)
