"""The interface of every runtime: a function from images to upscaled images, both uint8."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.networks.infer import padded_side

Bytes = NDArray[np.uint8]

MOST_NUMBERS = 1 << 28  # elements of a tensor of fixed size in an untrusted model file


class CannotRunError(SrkdError):
    """A runtime cannot run a network, or not at some size; another runtime may."""


class Engine(ABC):
    """A network on a runtime in a precision: `engine(pixels)`.

    Args:
        facts: of `srkd.inference.graph.facts`: `scale`, and `multiple` and `minimum` of input sides if not 1.
    """

    runtime: str

    def __init__(self, precision: str, facts: Mapping[str, Any]) -> None:
        self.precision, self.facts = precision, dict(facts)
        self.scale, self.multiple = int(facts["scale"]), int(facts.get("multiple", 1))
        self.minimum = int(facts.get("minimum", 1))

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"

    def __call__(self, pixels: Bytes) -> Bytes:
        """uint8 (N, H, W, 3) RGB to uint8 (N, scale H, scale W, 3), of any H and W.

        Raises:
            CannotRunError: the runtime cannot run this network, or not at this size.
        """
        height, width = pixels.shape[1:3]
        sides = (padded_side(side, self.multiple, self.minimum) for side in (height, width))
        with in_one_line(f"{self} cannot run this network at {width}x{height}"):
            result = self._run(np.ascontiguousarray(_padded(pixels, *sides)))
        expected = (len(pixels), *(side * self.scale for side in pixels.shape[1:3]), 3)
        result = result[:, : expected[1], : expected[2]]
        if result.shape != expected:
            raise CannotRunError(f"{self} cannot run this network at {width}x{height}: it outputs {result.shape[1:]}")
        return result

    @abstractmethod
    def _run(self, pixels: Bytes) -> Bytes:
        """As `__call__`, for sides that are multiples of `multiple`; the result is not reused by the engine."""


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Turn any exception of a runtime in the block into one line that starts with `what`.

    Raises:
        CannotRunError: instead of any exception but SrkdError.
    """
    try:
        yield
    except SrkdError:
        raise
    except Exception as error:
        raise CannotRunError(f"{what}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The most informative line of an exception's text: not the source locations that OpenVINO starts with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    informative = [line for line in lines if not line.startswith(("Exception from", "While executing", "File "))]
    return (informative or lines or [type(error).__name__])[0][:200].rstrip(":")


def _padded(pixels: Bytes, height: int, width: int) -> Bytes:
    """As `srkd.networks.infer.padded`, for (N, H, W, 3)."""
    bottom, right = height - pixels.shape[1], width - pixels.shape[2]
    if not (bottom or right):
        return pixels
    near = (min(bottom, pixels.shape[1] - 1), min(right, pixels.shape[2] - 1))
    reflected = np.pad(pixels, ((0, 0), (0, near[0]), (0, near[1]), (0, 0)), "reflect")
    return np.pad(reflected, ((0, 0), (0, bottom - near[0]), (0, right - near[1]), (0, 0)), "edge")


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
        raise SrkdError(f"{package} is not installed: pip install 'srkd[deploy]'") from error
