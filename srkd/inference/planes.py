"""What of an image goes through a network of three channels: grey as colour, alpha on its own.

Colours under full transparency are often arbitrary (black) and would bleed into the visible edge when the network mixes
neighbours; so would those that are all but transparent. Each such pixel first takes the colour of the nearest one that
can be seen. Where they are no single colour they may be data, as in the textures of games, and are upscaled by
themselves and put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]

# Full-range BT.601 luma: how the three channels that a network made of a grey image become one.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_FAINT = 8 / 255  # alpha up to here cannot be seen, on whatever background
_SAMPLE = 16


@dataclass(frozen=True)
class Planes:
    """An image taken apart.

    `colour` (H, W, 1 or 3), one channel where the three are equal (`grey_rgb`); `alpha` (H, W, 1) where it varies;
    `constant_alpha`, the one value of an alpha channel that does not. `below` (H, W, as colour) is what stands where
    alpha is at most `faint`, if that is not simply `colour`; `below_is_data` says that it is worth a network.
    """

    colour: Pixels
    grey_rgb: bool = False
    alpha: Pixels | None = None
    constant_alpha: int | float | None = None
    below: Pixels | None = None
    below_is_data: bool = False
    faint: float = 0.0

    def joined(self, colour: Pixels, alpha: Pixels | None, below: Pixels | None) -> Pixels:
        """Rows of the planes, upscaled, as rows (n, W, C) of the image."""
        if below is not None and alpha is not None:
            colour = np.where(alpha <= self.faint, below, colour)
        colour = np.repeat(colour, 3, axis=2) if self.grey_rgb else colour
        if self.constant_alpha is not None:
            alpha = np.full((*colour.shape[:2], 1), self.constant_alpha, colour.dtype)
        return colour if alpha is None else np.concatenate([colour, alpha], axis=2)


def split(pixels: Pixels) -> Planes:
    """Take (H, W, C), C = 1 to 4, apart."""
    channels = pixels.shape[2]
    colour = pixels if channels in (1, 3) else pixels[..., :-1]
    grey_rgb = _is_grey(colour)
    colour = colour[..., :1] if grey_rgb else colour
    if channels in (1, 3):
        return Planes(colour, grey_rgb)
    alpha = pixels[..., -1:]
    value = alpha[0, 0, 0]
    if (alpha == value).all():
        return Planes(colour, grey_rgb, constant_alpha=value.item())
    most = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1.0
    hidden, faint = alpha[..., 0] == 0, alpha[..., 0] <= _FAINT * most
    filled = _filled(colour, hidden)
    clear = filled if faint.all() or (faint == hidden).all() else _filled(colour, faint)
    of_hidden = colour[hidden]
    if len(of_hidden) and (of_hidden != of_hidden[0]).any():
        return Planes(clear, grey_rgb, alpha, None, colour, True, _FAINT * most)
    return Planes(clear, grey_rgb, alpha, None, None if clear is filled else filled, False, _FAINT * most)


def nearest(plane: Pixels, size: tuple[int, int], start: int, stop: int) -> Pixels:
    """Rows `start` to `stop` of (H, W, C) resized to `size` = (height, width) by taking the nearest pixel."""
    (height, width), (tall, wide) = plane.shape[:2], size
    rows = np.minimum(((np.arange(start, stop) + 0.5) * height / tall).astype(int), height - 1)
    columns = np.minimum(((np.arange(wide) + 0.5) * width / wide).astype(int), width - 1)
    return plane[rows][:, columns]


def _is_grey(colour: Pixels) -> bool:
    """Whether three channels are equal everywhere; a few pixels settle it for most images."""
    if colour.shape[2] != 3:
        return False
    return all((part[..., :1] == part[..., 1:]).all() for part in (colour[::_SAMPLE, ::_SAMPLE], colour))


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
