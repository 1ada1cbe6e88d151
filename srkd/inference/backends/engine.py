"""The interface of every runtime: a function from images to upscaled images, both uint8."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.images.levels import from_levels, to_levels

Bytes = NDArray[np.uint8]

MOST_NUMBERS = 1 << 28  # elements of a tensor of fixed size in an untrusted model file


class CannotRunError(SrkdError):
    """A runtime cannot run a network, or not at some size; another runtime may."""


class Engine(ABC):
    """A network on a runtime in a precision. `Model` pads images to the sides that the network takes and calls it."""

    runtime: str

    def __init__(self, precision: str, scale: int) -> None:
        self.precision, self.scale = precision, scale

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"

    def __call__(self, pixels: Bytes) -> Bytes:
        """uint8 (N, H, W, 3) RGB, contiguous and writable, to uint8 (N, scale H, scale W, 3).

        Raises:
            CannotRunError: the runtime cannot run this network, or not at this size.
        """
        height, width = pixels.shape[1:3]
        with in_one_line(f"{self} cannot run this network at {width}x{height}"):
            result = self._run(pixels)
        if result.shape != (len(pixels), height * self.scale, width * self.scale, 3):
            raise CannotRunError(f"{self} cannot run this network at {width}x{height}: it outputs {result.shape[1:]}")
        return result

    @abstractmethod
    def _run(self, pixels: Bytes) -> Bytes:
        """As `__call__`; the engine does not write to the result later."""


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


def as_floats(pixels: Bytes) -> NDArray[np.float32]:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1]."""
    return from_levels(torch.from_numpy(pixels).permute(0, 3, 1, 2)).contiguous().numpy()


def as_bytes(floats: NDArray[np.float32]) -> Bytes:
    """float32 (N, 3, H, W) to uint8 (N, H, W, 3)."""
    return to_levels(torch.from_numpy(floats).permute(0, 2, 3, 1)).contiguous().numpy()


def require(package: str) -> Any:
    """Import a package of the extra `deploy`. Raises SrkdError with the command that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise SrkdError(f"{package} is not installed: pip install 'srkd[deploy]'") from error
