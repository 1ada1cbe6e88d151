"""What of a picture goes through a network of three channels: grey as colour, alpha on its own.

Colours under full transparency are arbitrary (often black) and would bleed into the visible edge when the network mixes
neighbours: each such pixel first takes the colour of the nearest one that can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]

# Full-range BT.601 luma: how the three channels that a network made of a grey picture become one.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Planes:
    """Colour (H, W, 1 or 3); alpha (H, W, 1) where it varies; the one value of an alpha channel that does not."""

    colour: Pixels
    alpha: Pixels | None
    constant_alpha: int | float | None


def split(pixels: Pixels) -> Planes:
    """Take (H, W, C), C = 1 to 4, apart."""
    if pixels.shape[2] in (1, 3):
        return Planes(pixels, None, None)
    alpha = pixels[..., -1:]
    value = alpha[0, 0, 0]
    if (alpha == value).all():
        return Planes(pixels[..., :-1], None, value.item())
    return Planes(_filled(pixels[..., :-1], alpha[..., 0] == 0), alpha, None)


def _filled(colour: Pixels, hidden: NDArray[np.bool_]) -> Pixels:
    """`colour` with the hidden pixels set to the nearest one that is not."""
    import cv2

    if not hidden.any():
        return colour
    _, label = cv2.distanceTransformWithLabels(hidden.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colour_of = np.zeros((int(label.max()) + 1, colour.shape[2]), colour.dtype)
    colour_of[label[~hidden]] = colour[~hidden]
    filled = colour.copy()
    filled[hidden] = colour_of[label[hidden]]
    return filled
