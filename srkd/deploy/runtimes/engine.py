"""What every runtime is to the rest of srkd: a function from pictures to upscaled pictures, uint8 on both sides."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError

Bytes = NDArray[np.uint8]


class Engine(ABC):
    """A network on a runtime in a precision: `engine(pixels)`.

    Args:
        facts: what `srkd.deploy.graph.facts` gives; `scale` and `multiple` are needed.
    """

    runtime: str

    def __init__(self, precision: str, facts: Mapping[str, Any]) -> None:
        self.precision, self.facts = precision, dict(facts)
        self.scale, self.multiple = int(facts["scale"]), int(facts.get("multiple", 1))

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"

    def __call__(self, pixels: Bytes) -> Bytes:
        """uint8 (N, H, W, 3) RGB to uint8 (N, scale H, scale W, 3), of any H and W."""
        height, width = pixels.shape[1:3]
        down, right = -height % self.multiple, -width % self.multiple
        if down or right:
            mode: Literal["reflect", "edge"] = "reflect" if down < height and right < width else "edge"
            pixels = np.pad(pixels, ((0, 0), (0, down), (0, right), (0, 0)), mode)
        return self._run(np.ascontiguousarray(pixels))[:, : height * self.scale, : width * self.scale]

    @abstractmethod
    def _run(self, pixels: Bytes) -> Bytes:
        """As `__call__`, for sides that are multiples of `multiple`; the result is the caller's own."""


def as_floats(pixels: Bytes) -> NDArray[np.float32]:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1]."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def as_bytes(floats: NDArray[np.float32]) -> Bytes:
    """float32 (N, 3, H, W) to uint8 (N, H, W, 3): clamped to [0, 1], times 255, rounded half to even."""
    return np.rint(np.clip(floats.transpose(0, 2, 3, 1), 0, 1) * np.float32(255)).astype(np.uint8)


def require(package: str) -> Any:
    """Import a package of the extra `deploy`. Raises SrkdError with the command that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise SrkdError(f"{package} is not installed here: pip install 'srkd[deploy]'") from error
