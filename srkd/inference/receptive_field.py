"""Receptive field, shift alignment and memory of a network, measured by running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from srkd.inference.tiling import ReceptiveField
from srkd.networks.sides import padded_side
from srkd.operators import OperatorMode

Run = Callable[[Tensor], Tensor]

_LENGTHS = (48, 96, 192)
_THICK = 16
_SHIFTS = (1, 2, 4, 8, 16)


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
