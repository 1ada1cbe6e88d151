"""Tiled inference, from top to bottom, and the measurements of a network that it depends on.

Exact tiles have a halo as wide as the network's receptive field and keep only pixels that no tile border influences:
the result equals that of the whole image. If the receptive field is too large for that, tiles overlap and are blended.
Receptive field, shift alignment and memory are measured by running the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srkd.networks.sides import padded_side
from srkd.operators import OperatorMode

Pixels = NDArray[Any]
Floats = NDArray[np.float32]
Network = Callable[[Pixels], Pixels]
Run = Callable[[Tensor], Tensor]

MEMORY = 500 * 2**20
_LARGEST, _SMALLEST = 2048, 32
_OVERLAP = 32
_LENGTHS = (48, 96, 192)
_THICK = 16
_SHIFTS = (1, 2, 4, 8, 16)


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


@torch.inference_mode()
def measure(run: Run, scale: int, device: torch.device | str = "cpu", multiple: int = 1) -> ReceptiveField:
    """Measure a network that takes (N, 3, H, W) of any size to `scale` times that.

    The halo is how far a NaN spreads: it propagates whatever the weights are, where a gradient may vanish. If it
    spreads everywhere, the halo is measured with changed values instead: attention in cyclically shifted windows masks
    pixels with a weight of 0, which stops every value but NaN. Then the output of random images shifted by 1 to 16
    times `multiple` must be shifted alike, except within the halo of the border; this also verifies that nothing
    farther away contributes. Both use strips, horizontal and vertical.

    Args:
        multiple: the network pads sides to multiples of it; tiles start at multiples of it.
    """
    directions = (run, lambda x: run(x.mT).mT)
    for reach_of in (_nan_reach, _value_reach):
        for length in (length for length in _LENGTHS if length >= 2 * multiple):
            halo = _largest(reach_of(along, length, scale, device, multiple) for along in directions)
            if halo is not None:
                align = _largest(_alignment(along, halo, scale, device, multiple) for along in directions)
                return ReceptiveField(None, multiple) if align is None else ReceptiveField(halo, align)
    return ReceptiveField(None, multiple)


def _largest(measured: Iterable[int | None]) -> int | None:
    """The largest value, or None as soon as one is None, without measuring the rest."""
    result = 0
    for value in measured:
        if value is None:
            return None
        result = max(result, value)
    return result


def _nan_reach(run: Run, length: int, scale: int, device: torch.device | str, _: int) -> int | None:
    """How far a NaN near either end, in two phases, spreads along a strip; None if it reaches the other end."""
    at = (0, 1, length - 1, length - 2)
    x = torch.full((len(at), 3, _THICK, length), 0.5, device=device)
    for strip, place in enumerate(at):
        x[strip, :, :, place] = float("nan")
    return _farthest(run(x).isnan(), at, length, scale)


def _value_reach(run: Run, length: int, scale: int, device: torch.device | str, multiple: int) -> int | None:
    """As `_nan_reach`, for random values replaced by others, in every phase of `multiple`."""
    ends = (0, length - 1)
    phases = (*range(multiple), *range(length - multiple, length))
    reach = 0
    for at in (ends, phases):  # the two ends first: they detect most networks with a global receptive field
        image = torch.rand(1, 3, _THICK, length, generator=torch.Generator().manual_seed(0)).to(device)
        x = image.repeat(len(at) + 1, 1, 1, 1)
        for strip, place in enumerate(at):
            x[strip, :, :, place] = (x[strip, :, :, place] < 0.5).float()
        y = run(x)
        found = _farthest(y[:-1] != y[-1:], at, length, scale)
        if found is None:
            return None
        reach = max(reach, found)
    return reach


def _farthest(touched: Tensor, at: Sequence[int], length: int, scale: int) -> int | None:
    """The largest distance from `at` that a strip was changed at; None if one is unchanged, or changed to its end."""
    reach = 0
    for mask, place in zip(touched.any(1).any(1).cpu(), at, strict=True):
        if not mask.any():  # the network replaced the value, so nothing can be concluded
            return None
        reach = max(reach, int((mask.nonzero() // scale - place).abs().max()))
    return reach if reach < length - 2 else None


def _alignment(run: Run, reach: int, scale: int, device: torch.device | str, multiple: int) -> int | None:
    """The smallest shift of the input that shifts the output equally; None if none of the tested shifts does."""
    shifts = [multiple * times for times in _SHIFTS]
    length = padded_side(2 * reach + _THICK + shifts[-1], 16 * multiple)
    strip = torch.rand(1, 3, _THICK, length + shifts[-1], generator=torch.Generator().manual_seed(0)).to(device)
    still = run(strip[..., :length])
    for shift in shifts:
        moved = run(strip[..., shift : length + shift])
        first, last = scale * (reach + shift), scale * (length - reach)
        here, there = still[..., first:last], moved[..., first - scale * shift : last - scale * shift]
        if torch.allclose(here, there, rtol=1e-5, atol=1e-5):
            return shift
    return None


@torch.inference_mode()
def bytes_per_pixel(run: Run, device: torch.device | str = "cpu") -> float:
    """Approximate peak memory of a network in bytes per input pixel."""
    side = _LENGTHS[0]
    with _LargestStep() as largest:
        run(torch.full((1, 3, side, side), 0.5, device=device))
    # Besides the tensors of one operation, skip connections and the kernels' own copies take memory.
    return float(1.5 * largest.bytes / side**2)


class _LargestStep(OperatorMode):
    """Records the largest number of bytes that one operation reads and writes."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = {id(t): t for t in (*_tensors(args), *_tensors(result))}
        self.bytes = max(self.bytes, sum(t.numel() * t.element_size() for t in tensors.values()))
        return result


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for item in value for t in _tensors(item)] if isinstance(value, (list, tuple)) else []


@dataclass(frozen=True)
class Span:
    """A tile along one dimension: the network gets [low, high), and [start, stop) of the result is kept."""

    start: int
    stop: int
    low: int
    high: int


def tile_side(field: ReceptiveField, bytes_per_pixel: float) -> int:
    """The side of tiles in input pixels for about 500 MB of memory.

    At least twice the halo, so that the halo does not dominate the computation.
    """
    margin = _OVERLAP if field.halo is None else field.halo
    side = int((MEMORY / bytes_per_pixel) ** 0.5) - 2 * margin
    return min(max(side, 2 * margin, _SMALLEST), _LARGEST)


def spans(length: int, tile: int, field: ReceptiveField) -> list[Span]:
    """Divide a side into tiles of about equal size, starting at multiples of `field.align`."""
    count = -(-length // tile)
    step = -(-length // count)
    step = -(-step // field.align) * field.align
    margin = min(_OVERLAP, step // 2) if field.halo is None else field.halo
    margin = -(-margin // field.align) * field.align
    # The last exact tile must be at least `minimum`, or the network would pad it differently from the whole image.
    last = max(0, (length - field.minimum) // field.align * field.align) if field.exact else length
    return [
        Span(s, min(s + step, length), min(last, max(0, s - margin)), min(min(s + step, length) + margin, length))
        for s in range(0, length, step)
    ]


def upscale_rows(pixels: Pixels, network: Network, scale: int, field: ReceptiveField, tile: int) -> Iterator[Pixels]:
    """Yield the upscaled image in blocks of rows, from top to bottom.

    Args:
        pixels: (H, W, C), any dtype that `network` takes.
        network: (h, w, C) to (scale h, scale w, C), in any dtype if the tiles are exact, else in float32.
        tile: side of the tiles in input pixels; at least the image's sides for no tiling.
    """
    down, across = (spans(length, tile, field) for length in pixels.shape[:2])
    if field.exact or len(down) == len(across) == 1:
        return _exact(pixels, network, scale, down, across)
    return _blended(pixels, network, scale, down, across)


def _exact(pixels: Pixels, network: Network, scale: int, down: list[Span], across: list[Span]) -> Iterator[Pixels]:
    _, width, channels = pixels.shape
    for rows in down:
        if len(across) == 1:
            yield _core(network(pixels[rows.low : rows.high]), scale, rows, across[0])
            continue
        strip: Pixels | None = None
        for columns in across:
            result = network(pixels[rows.low : rows.high, columns.low : columns.high])
            if strip is None:
                strip = np.empty((scale * (rows.stop - rows.start), scale * width, channels), result.dtype)
            strip[:, scale * columns.start : scale * columns.stop] = _core(result, scale, rows, columns)
        assert strip is not None
        yield strip


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
