"""The registry of losses: every class decorated with `@register("name")` in any module of this package.

A new loss needs only a new file here: the modules are found by listing the package.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from srkd.errors import SrkdError, unknown
from srkd.losses.base import Loss
from srkd.registry import Registry

L = TypeVar("L", bound=type[Loss])
_LOSSES: Registry[Loss] = Registry("loss", "srkd.losses")


def register(name: str) -> Callable[[L], L]:
    """Make a `Loss` class available to recipes under `name`."""

    def add(cls: L) -> L:
        _LOSSES.register(name)(cls)
        cls.name = name
        return cls

    return add


def names() -> list[str]:
    """All registered names, sorted."""
    return list(_LOSSES)


def get(name: str) -> type[Loss]:
    """The class registered as `name`.

    Raises:
        SrkdError: unknown loss; the message names the nearest.
    """
    return _LOSSES[name]


def options(name: str) -> dict[str, inspect.Parameter]:
    """The options that `build(name, ...)` takes, in order, with their defaults."""
    parameters = inspect.signature(get(name).__init__).parameters
    # A loss without options of its own inherits nn.Module's (*args, **kwargs).
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {key: p for key, p in parameters.items() if key != "self" and p.kind not in variadic}


def build(name: str, **given: Any) -> Loss:
    """Build a loss by its registered name.

    Raises:
        SrkdError: unknown name or option (the message names the nearest), a missing option, or an invalid value.
    """
    cls, known = get(name), options(name)
    given = {cls.renamed.get(key, key): value for key, value in given.items()}
    for key in given:
        if key not in known:
            raise SrkdError(f"{name}: {unknown('option', key, known)}")
    missing = [k for k, p in known.items() if p.default is p.empty and k not in given]
    if missing:
        raise SrkdError(f"{name}: needs the option {', '.join(missing)}")
    try:
        return cls(**given)
    except (TypeError, ValueError, SrkdError) as error:
        raise SrkdError(f"{name}: {error}") from error


def describe(name: str) -> str:
    """The docstring of a loss: formula, shapes, default weight, cost and source."""
    return inspect.getdoc(get(name)) or ""
