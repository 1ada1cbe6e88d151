"""An engine that fails or breaks on some image: noticed, said, and done again in torch's fp32."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from srkd.inference.backends.engine import Bytes, CannotRunError, Engine

_BLOCK = 16
_DARK, _FAR = 8, 64  # levels


class Fp32FallbackEngine(Engine):
    """An engine whose answers are looked at, and the exact one that takes over for good when one is broken.

    Args:
        exact: makes the fp32 engine, when it is first needed.
        say: told once, in a line.
    """

    def __init__(self, engine: Engine, exact: Callable[[], Engine], say: Callable[[str], None]) -> None:
        super().__init__(engine.precision, engine.facts)
        self.runtime, self._engine, self._make_exact, self._say = engine.runtime, engine, exact, say
        self._trusted = engine.precision == "fp32"

    def _run(self, pixels: Bytes) -> Bytes:
        try:
            prediction = self._engine(pixels)
        except CannotRunError as error:
            exact = self._make_exact()
            right = exact(pixels)
            self._go_on_with(exact, str(error))
            return right
        if self._trusted or not broken(pixels, prediction):
            return prediction
        exact = self._make_exact()
        right = exact(pixels)
        self._trusted = True
        if broken(pixels, right):  # then that is what the network does, and not the precision
            return prediction
        self._go_on_with(exact, f"{self._engine} gave NaN or black for an image of this network")
        return right

    def _go_on_with(self, exact: Engine, why: str) -> None:
        self._say(f"{why}: going on with {exact}")
        self._engine, self.runtime, self.precision, self._trusted = exact, exact.runtime, exact.precision, True


def broken(pixels: Bytes, prediction: Bytes) -> bool:
    """Whether any block of some 16 x 16 pixels came out black though it is not dark, or of quite another colour.

    Upscaling keeps local means; NaN turns into 0 or 255 where bytes are made of it, and spreads over a block at least.
    """
    for before, after in zip(pixels, prediction, strict=True):
        small, large = _means(before, before.shape), _means(after, before.shape)
        if (((large == 0) & (small > _DARK)) | (np.abs(large - small) > _FAR)).any():
            return True
    return False


def _means(image: Bytes, shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Means of (H, W, 3) over blocks of 16 x 16 of an image of `shape`, which may be smaller, on a grid of its own."""
    grid = (-(-shape[1] // _BLOCK), -(-shape[0] // _BLOCK))
    return cv2.resize(image, grid, interpolation=cv2.INTER_AREA).astype(np.int16)
