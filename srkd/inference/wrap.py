"""Seamless upscaling of textures: borders are padded from the opposite side, so that the tiled result has no seam."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from srkd.errors import SrkdError
from srkd.inference.model import Model, Pixels

_BLENDED = 32  # margin in input pixels for networks without a finite receptive field
_BICUBIC = 8  # added for the resizing after the network


def upscale_wrapped(
    model: Model, pixels: Pixels, tile: int | None = None, self_ensemble: bool = False, outscale: float | None = None
) -> Iterator[Pixels]:
    """As `Model.upscale_rows`, for an image (H, W, C) whose opposite borders meet.

    Raises:
        SrkdError: sides that are not whole numbers after scaling.
    """
    tall, wide, _ = model.output_shape(pixels, outscale)
    scale = model.scale if outscale is None else outscale
    factor = _as_written(scale)
    margin = _margin(model, factor)
    height, width, _ = pixels.shape
    check_seamless(height, width, scale, margin)
    padded = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="wrap")
    skipped, start = int(margin * factor), 0
    for rows in model.upscale_rows(padded, tile, self_ensemble, outscale):
        kept = rows[max(0, skipped - start) : max(0, skipped + tall - start)]
        start += len(rows)
        if len(kept):
            yield kept[:, skipped : skipped + wide]


def check_seamless(height: int, width: int, scale: float, margin: int = 0) -> None:
    """Raise SrkdError if the sides or the margin of a texture are no whole numbers after scaling."""
    if any((side * _as_written(scale)).denominator > 1 for side in (height, width, margin)):
        raise SrkdError(f"{width}x{height} times {scale:g} is not a whole size, so no tile of it is seamless")


def _as_written(scale: float) -> Fraction:
    """1.1 as it is written: 100 * 1.1 is not 110.0."""
    return Fraction(str(scale))


def _margin(model: Model, factor: Fraction) -> int:
    """Input pixels beyond which no border influences a pixel, a whole number after scaling if a small one is."""
    field = model.receptive_field
    least = (_BLENDED if field.halo is None else field.halo) + (0 if factor == model.scale else _BICUBIC)
    margin = -(-least // field.align) * field.align
    whole = (margin + more * field.align for more in range(20))
    return next((side for side in whole if (side * factor).denominator == 1), margin)
