"""Fallback to torch fp32 if an engine fails or its output for an image is invalid."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from srkd.inference.backends.engine import Bytes, CannotRunError, Engine

_BLOCK = 16
_DARK, _FAR = 8, 64  # levels


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
    return cv2.resize(image, grid, interpolation=cv2.INTER_AREA).astype(np.int16)
