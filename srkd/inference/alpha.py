"""Grey and alpha around a network of three channels: grey runs as colour, alpha is upscaled on its own.

Colours under full transparency are often arbitrary (black). The network would mix them into the visible edge, and
those of nearly transparent pixels too. Each such pixel therefore first takes the colour of the nearest visible one.
If the hidden colours differ from each other they may be data, as in game textures: they are then upscaled separately
and put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]

# Full-range BT.601 luma: reduces the three output channels of a grey image to one.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_FAINT = 8 / 255  # alpha up to here is invisible on any background
_SAMPLE = 16
_ROWS = 256  # that are filled at a time


@dataclass(frozen=True)
class SplitImage:
    """The parts of an image that are upscaled separately.

    `colour` (H, W, 1 or 3) has one channel if its three are equal (`grey_rgb`). `alpha` (H, W, 1) is set if it varies,
    `constant_alpha` if all its values are equal. `hidden_colour` (H, W, as colour) is what goes where alpha is at most
    `faint`, unless that is `colour` itself; with `hidden_is_data` it is upscaled by the network too.
    """

    colour: Pixels
    grey_rgb: bool = False
    alpha: Pixels | None = None
    constant_alpha: int | float | None = None
    hidden_colour: Pixels | None = None
    hidden_is_data: bool = False
    faint: float = 0.0

    def merge(self, colour: Pixels, alpha: Pixels | None, hidden_colour: Pixels | None) -> Pixels:
        """Merge upscaled rows of the parts into rows (n, W, C) of the image."""
        if hidden_colour is not None and alpha is not None:
            colour = np.where(alpha <= self.faint, hidden_colour, colour)
        colour = np.repeat(colour, 3, axis=2) if self.grey_rgb else colour
        if self.constant_alpha is not None:
            alpha = np.full((*colour.shape[:2], 1), self.constant_alpha, colour.dtype)
        return colour if alpha is None else np.concatenate([colour, alpha], axis=2)


def split_alpha(pixels: Pixels) -> SplitImage:
    """Split an image (H, W, C), C = 1 to 4, into colour and alpha."""
    channels = pixels.shape[2]
    colour = pixels if channels in (1, 3) else pixels[..., :-1]
    grey_rgb = _is_grey(colour)
    colour = colour[..., :1] if grey_rgb else colour
    if channels in (1, 3):
        return SplitImage(colour, grey_rgb)
    alpha = pixels[..., -1:]
    value = alpha[0, 0, 0]
    if (alpha == value).all():
        return SplitImage(colour, grey_rgb, constant_alpha=value.item())
    most = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1.0
    hidden, faint = alpha[..., 0] == 0, alpha[..., 0] <= _FAINT * most
    filled = _filled(colour, hidden)
    clear = filled if faint.all() or (faint == hidden).all() else _filled(colour, faint)
    of_hidden = colour[hidden]
    if len(of_hidden) and (of_hidden != of_hidden[0]).any():
        return SplitImage(clear, grey_rgb, alpha, None, colour, True, _FAINT * most)
    return SplitImage(clear, grey_rgb, alpha, None, None if clear is filled else filled, False, _FAINT * most)


def nearest_rows(plane: Pixels, size: tuple[int, int], start: int, stop: int) -> Pixels:
    """Rows `start` to `stop` of (H, W, C) resized to `size` = (height, width) by nearest neighbour."""
    (height, width), (tall, wide) = plane.shape[:2], size
    rows = np.minimum(((np.arange(start, stop) + 0.5) * height / tall).astype(int), height - 1)
    columns = np.minimum(((np.arange(wide) + 0.5) * width / wide).astype(int), width - 1)
    result: Pixels = plane[rows][:, columns]
    return result


def _is_grey(colour: Pixels) -> bool:
    """Whether three channels are equal everywhere; a sparse sample decides for most images."""
    if colour.shape[2] != 3:
        return False
    return all((part[..., :1] == part[..., 1:]).all() for part in (colour[::_SAMPLE, ::_SAMPLE], colour))


def _filled(colour: Pixels, hidden: NDArray[np.bool_]) -> Pixels:
    """`colour` with hidden pixels set to the colour of the nearest visible one, by steps along rows and columns.

    The distance separates: the nearest visible pixel of each column comes first, then the best column in each row, both
    by running minima in either direction.
    """
    filled = colour.copy()
    in_rows: NDArray[np.bool_] = hidden.max(1)
    if not in_rows.any() or hidden.all():
        return filled
    height, width = hidden.shape
    row, column = np.arange(height, dtype=np.int32)[:, None], np.arange(width, dtype=np.int32)
    far, bits = height + width, int(width).bit_length()
    number = np.int32 if (2 * far + width).bit_length() + bits < 32 else np.int64
    above = _running(np.maximum, np.where(hidden, -far, row))
    below = _running(np.minimum, np.where(hidden, far + height, row)[::-1])[::-1]
    for top in range(0, height, _ROWS):
        rows = slice(top, top + _ROWS)
        if not in_rows[rows].any():
            continue
        to_above, to_below = row[rows] - above[rows], below[rows] - row[rows]
        distance = np.minimum(to_above, to_below).astype(number)
        # A running minimum of distance and column in one number; `width` keeps the number positive.
        left = np.minimum.accumulate((distance - column + width << bits) + column, 1)
        right = np.minimum.accumulate(((distance + column << bits) + column)[:, ::-1], 1)[:, ::-1]
        is_left = (left >> bits) - width + column <= (right >> bits) - column
        chosen = hidden[rows]
        best = np.where(is_left, left, right)[chosen] & (1 << bits) - 1
        at = np.nonzero(chosen)[0]
        source = np.where(to_above[at, best] <= to_below[at, best], above[rows][at, best], below[rows][at, best])
        filled[rows][chosen] = colour[source, best]
    return filled


def _running(best: np.ufunc, values: NDArray[np.int32]) -> NDArray[np.int32]:
    """The running minimum or maximum of each column, from the top; row by row, because `accumulate` jumps in memory."""
    for before, row in pairwise(values):
        best(before, row, out=row)
    return values
