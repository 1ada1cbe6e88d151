"""The stand-in for the network of an exported file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from srkd.errors import SrkdError


class NoNetwork:
    """Stands for the network of a model that is only an engine; using it raises SrkdError."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *inputs: Any) -> Any:
        raise SrkdError(f"{self.name} is an exported file without its network: load the checkpoint instead")

    def parameters(self) -> Iterator[Any]:
        """None: the weights are in the engine."""
        return iter(())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self()
