"""Tiled inference, from top to bottom.

Exact tiles have a halo as wide as the network's receptive field and keep only pixels that no tile border influences:
the result equals that of the whole image. If the receptive field is too large for that, tiles overlap and are blended.
Receptive field, shift alignment and memory come from `srkd.inference.receptive_field`, or from an exported file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Floats = NDArray[np.float32]
Network = Callable[[Pixels], Pixels]

MEMORY = 500 * 2**20  # bytes that an image may take without tiles
_TILE_MEMORY = 384 * 2**20  # that a tile may take: beside it are the image and the rows that wait
_STRIP, _BLOCK = 64 * 2**20, 16 * 2**20  # bytes of output rows that are kept, and passed on at a time
_CHANNELS = 3  # that rows are counted with, also for an alpha plane of one
_LARGEST, _SMALLEST = 2048, 32
_OVERLAP = 32


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of a network.

    `halo`: an output pixel depends on input pixels at most this far away; None: farther than measured, or dependent on
    position (attention, statistics of the whole image), so that tiles can only be blended.
    `align`: the network is equivariant to shifts by multiples of this; tiles start at multiples of it.
    `minimum`: the smallest side that the network takes without padding.
    """

    halo: int | None
    align: int = 1
    minimum: int = 1

    @property
    def exact(self) -> bool:
        """Whether tiles with a halo give exactly the output of the whole image."""
        return self.halo is not None


@dataclass(frozen=True)
class Span:
    """A tile along one dimension: the network gets [low, high), and [start, stop) of the result is kept."""

    start: int
    stop: int
    low: int
    high: int


def tile_side(field: ReceptiveField, bytes_per_pixel: float) -> int:
    """The side of tiles in input pixels for about 400 MB of memory.

    At least twice the halo, so that the halo does not dominate the computation.
    """
    margin = _OVERLAP if field.halo is None else field.halo
    side = int((_TILE_MEMORY / bytes_per_pixel) ** 0.5) - 2 * margin
    return min(max(side, 2 * margin, _SMALLEST), _LARGEST)


def spans(length: int, tile: int, field: ReceptiveField) -> list[Span]:
    """Divide a side into tiles of about equal size, starting at multiples of `field.align`.

    Their inputs end at multiples of it from the end: a self-ensemble flips them, and the network then sees them as it
    sees the whole image flipped.
    """
    count = -(-length // tile)
    step = -(-length // count)
    step = -(-step // field.align) * field.align
    margin = min(_OVERLAP, step // 2) if field.halo is None else field.halo
    margin = -(-margin // field.align) * field.align
    # The last exact tile must be at least `minimum`, or the network would pad it differently from the whole image.
    last = max(0, (length - field.minimum) // field.align * field.align) if field.exact else length
    beyond = margin + (length - margin) % field.align
    return [
        Span(s, min(s + step, length), min(last, max(0, s - margin)), min(s + step + beyond, length))
        for s in range(0, length, step)
    ]


def upscale_rows(pixels: Pixels, network: Network, scale: int, field: ReceptiveField, tile: int) -> Iterator[Pixels]:
    """Yield the upscaled image in blocks of rows, from top to bottom; the blocks of all planes of an image are alike.

    Args:
        pixels: (H, W, C), any dtype that `network` takes.
        network: (h, w, C) to (scale h, scale w, C), in any dtype if the tiles are exact, else in float32.
        tile: side of the tiles in input pixels; at least the image's sides for no tiling. Exact tiles of wide images
            are less high, so that a row of them fits into memory.
    """
    height, width, _ = pixels.shape
    high = tile
    if field.halo is not None and tile < max(height, width):
        high = min(tile, max(2 * field.halo, _SMALLEST, _STRIP // (scale * scale * width * _CHANNELS)))
    down, across = spans(height, high, field), spans(width, tile, field)
    if field.exact or len(down) == len(across) == 1:
        return _exact(pixels, network, scale, down, across)
    return _blended(pixels, network, scale, down, across)


def _exact(pixels: Pixels, network: Network, scale: int, down: list[Span], across: list[Span]) -> Iterator[Pixels]:
    _, width, channels = pixels.shape
    for rows in down:
        if len(across) == 1:
            yield from _blocks(_core(network(pixels[rows.low : rows.high]), scale, rows, across[0]))
            continue
        strip: Pixels | None = None
        for columns in across:
            result = network(pixels[rows.low : rows.high, columns.low : columns.high])
            if strip is None:
                strip = np.empty((scale * (rows.stop - rows.start), scale * width, channels), result.dtype)
            strip[:, scale * columns.start : scale * columns.stop] = _core(result, scale, rows, columns)
        assert strip is not None
        yield from _blocks(strip)


def _blocks(strip: Pixels) -> Iterator[Pixels]:
    """The rows of a strip in views, so that few of them wait for a slow writer."""
    rows = max(1, _BLOCK // max(1, strip.shape[1] * _CHANNELS * strip.itemsize))
    return (strip[at : at + rows] for at in range(0, len(strip), rows))


def _core(result: Pixels, scale: int, rows: Span, columns: Span) -> Pixels:
    top, left = scale * (rows.start - rows.low), scale * (columns.start - columns.low)
    return result[top : top + scale * (rows.stop - rows.start), left : left + scale * (columns.stop - columns.start)]


def _blended(pixels: Pixels, network: Network, scale: int, down: list[Span], across: list[Span]) -> Iterator[Floats]:
    _, width, channels = pixels.shape
    kept = np.zeros((0, scale * width, channels), np.float32)
    for i, rows in enumerate(down):
        band = np.zeros((scale * (rows.high - rows.low), scale * width, channels), np.float32)
        band[: len(kept)] = kept
        vertical = weights(down, i, scale)
        for j, columns in enumerate(across):
            result = network(pixels[rows.low : rows.high, columns.low : columns.high])
            weight = vertical[:, None] * weights(across, j, scale)
            band[:, scale * columns.low : scale * columns.high] += weight[..., None] * result
        done = scale * (down[i + 1].low - rows.low) if i + 1 < len(down) else len(band)
        yield band[:done]
        kept = band[done:].copy()


def weights(along: list[Span], i: int, scale: int) -> Floats:
    """Blending weights of the output rows or columns of span i: ramps where it overlaps its neighbours, else 1.

    The ramps of two neighbours sum to 1; no weight is 0, and there are no ramps at the image border.
    """
    span = along[i]
    result = np.ones(scale * (span.high - span.low), np.float32)
    if i > 0:
        overlap = scale * (along[i - 1].high - span.low)
        result[:overlap] = (np.arange(overlap, dtype=np.float32) + 0.5) / overlap
    if i + 1 < len(along):
        overlap = scale * (span.high - along[i + 1].low)
        result[-overlap:] = (np.arange(overlap, dtype=np.float32)[::-1] + 0.5) / overlap
    return result
