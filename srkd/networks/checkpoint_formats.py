"""Checkpoints without a description: each registered network recognises its own by the names and shapes of weights."""

from __future__ import annotations

from collections.abc import Iterator

from srkd.networks import registry
from srkd.networks.base import Recognised, SRNetwork, State


def recognised(state: State) -> Iterator[Recognised]:
    """The spec of each network that may have these weights, with the weights under srkd's names.

    The caller must check that all names and shapes match. Options that shapes do not determine take the defaults of
    the tools that write such checkpoints.
    """
    for name in registry.names():
        cls = registry.registered(name)
        found = cls.recognise(state) if issubclass(cls, SRNetwork) else None
        if found is not None:
            yield {"type": name, **found[0]}, found[1]


def recognise(state: State) -> Recognised | None:
    """The first of `recognised`; None if there is none."""
    return next(recognised(state), None)
