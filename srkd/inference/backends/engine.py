"""The interface of every runtime: a function from images to upscaled images, both uint8; and its fallback to fp32."""

from __future__ import annotations

import importlib
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.images.levels import from_levels, to_levels
from srkd.terminal import printable

Bytes = NDArray[np.uint8]

_FOR_FLOATS = ("fp32", "fp16")  # precisions that are exact enough for more than 8 bits
_BLOCK = 16
_DARK, _FAR = 8, 64  # levels, of means over blocks
# The extra that installs a package, if not `deploy`.
_EXTRAS = {"pnnx": "ncnn", "ncnn": "ncnn", "ai_edge_litert": "litert", "flatbuffers": "litert"}
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

    def floats(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, 3, H, W) in [0, 1], contiguous, to (N, 3, scale H, scale W), not clamped.

        Raises:
            CannotRunError: as `__call__`, or the network was exported for 8-bit images only, or in int8 or bf16.
        """
        if self.precision not in _FOR_FLOATS:
            raise CannotRunError(f"this network was exported in {self.precision} for 8-bit images: load the checkpoint")
        height, width = x.shape[-2:]
        with in_one_line(f"{self} cannot run this network at {width}x{height}"):
            result = self._run_floats(x)
        if result.shape != (len(x), 3, height * self.scale, width * self.scale):
            raise CannotRunError(f"{self} cannot run this network at {width}x{height}: it outputs {result.shape[1:]}")
        return result

    def _run_floats(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        raise CannotRunError(
            f"this {self.runtime} network takes 8-bit images only, and no self-ensemble: export it without --uint8, or "
            "load the checkpoint"
        )

    @abstractmethod
    def _run(self, pixels: Bytes) -> Bytes:
        """As `__call__`; the engine does not write to the result later."""


class Fp32FallbackEngine(Engine):
    """An engine that is replaced permanently by the fp32 engine if it raises CannotRunError or its output is invalid.

    The output of an fp32 engine is not checked.

    Args:
        exact: creates the fp32 engine when it is first needed.
        say: called once, with one line, on a fallback.
    """

    def __init__(self, engine: Engine, exact: Callable[[], Engine], say: Callable[[str], None]) -> None:
        super().__init__(engine.precision, engine.scale)
        self.runtime, self._engine, self._make_exact, self._say = engine.runtime, engine, exact, say
        self._trusted = engine.precision == "fp32"

    def _run(self, pixels: Bytes) -> Bytes:
        try:
            prediction = self._engine(pixels)
        except CannotRunError as error:
            exact = self._make_exact()
            right = exact(pixels)
            self._replace(exact, str(error))
            return right
        if self._trusted or not is_invalid(pixels, prediction):
            return prediction
        exact = self._make_exact()
        right = exact(pixels)
        self._trusted = True
        if is_invalid(pixels, right):  # the network itself does this, not the precision
            return prediction
        self._replace(exact, f"{self._engine} gave NaN or black for an image with this network")
        return right

    def _replace(self, exact: Engine, why: str) -> None:
        self._say(f"{why}: falling back to {exact}")
        self._engine, self.runtime, self.precision, self._trusted = exact, exact.runtime, exact.precision, True


def is_invalid(pixels: Bytes, prediction: Bytes) -> bool:
    """Whether any block of about 16 x 16 pixels is black in the output but not dark in the input, or far off in colour.

    Upscaling preserves local means. NaN becomes 0 or 255 when converted to uint8, and spreads over a block at least.
    """
    for before, after in zip(pixels, prediction, strict=True):
        small, large = _means(before, before.shape), _means(after, before.shape)
        if (((large == 0) & (small > _DARK)) | (np.abs(large - small) > _FAR)).any():
            return True
    return False


def _means(image: Bytes, shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Means of (H, W, 3) over a grid of 16 x 16 blocks of an image of `shape`, which may be smaller."""
    grid = (-(-shape[1] // _BLOCK), -(-shape[0] // _BLOCK))
    import cv2

    return cv2.resize(image, grid, interpolation=cv2.INTER_AREA).astype(np.int16)


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


def lacking(error: BaseException) -> str:
    """The operators that an exporter's error names, as "it lacks ..."; without any, the error's `reason`."""
    names = sorted(
        set(re.findall(r"(?:aten[.:]+|(?:prim|torchvision)::)\w+(?:\.\w+)?", f"{error} {error.__cause__ or ''}"))
    )
    return f"it lacks {', '.join(names)}" if names else reason(error)


def as_floats(pixels: Bytes) -> NDArray[np.float32]:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1]."""
    return from_levels(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def as_bytes(floats: NDArray[np.float32]) -> Bytes:
    """float32 (N, 3, H, W) to uint8 (N, H, W, 3)."""
    return np.ascontiguousarray(to_levels(floats).transpose(0, 2, 3, 1))


def not_exported(path: Path, kind: str, writer: str = "") -> SrkdError:
    """The error for a file that srkd did not export; `writer` is the tool that wrote it, if known."""
    by = printable(writer).strip()[:80]
    return SrkdError(
        f"{path}: not {kind} exported by srkd" + (f" but by {by}: export its checkpoint" if by else ", or incomplete")
    )


def require(package: str) -> Any:
    """Import a module of an extra's package. Raises SrkdError with the command that installs it."""
    # OpenVINO and NNCF report each conversion to a server if this package, which they install, can be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module(package)
    except ImportError as error:
        extra = _EXTRAS.get(package.split(".")[0], "deploy")
        raise SrkdError(f"{package} is not installed: pip install 'srkd[{extra}]'") from error
