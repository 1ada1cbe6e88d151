"""What tiling needs to know of a network, found out by running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Run = Callable[[Tensor], Tensor]

_LENGTHS = (48, 96, 192)
_THICK = 16
_SHIFTS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Field:
    """What a network looks at.

    `halo`: an output pixel depends on input pixels at most this far away; None: farther than measured, or not the same
    everywhere (attention, statistics of the whole picture), so that tiles can only be blended.
    `align`: moving the input by a multiple of this moves the output along; tiles begin at multiples of it.
    """

    halo: int | None
    align: int = 1

    @property
    def exact(self) -> bool:
        """Whether tiles with a halo give the very picture that the whole would."""
        return self.halo is not None


@torch.inference_mode()
def measure(run: Run, scale: int, device: torch.device | str = "cpu") -> Field:
    """Measure a network that takes (N, 3, H, W) of any size to `scale` times that.

    The reach is that of a NaN: arithmetic passes it on whatever the weights are, where a gradient may vanish. Then
    random pictures, moved by 1 to 16 pixels, must come out moved, away from the border by that reach: which also shows
    that nothing farther away had a part in it. Strips do for both, once lying and once standing.
    """
    directions = (run, lambda x: run(x.mT).mT)
    for length in _LENGTHS:
        halo = _largest(_reach(along, length, scale, device) for along in directions)
        if halo is not None:
            align = _largest(_alignment(along, halo, scale, device) for along in directions)
            return Field(None) if align is None else Field(halo, align)
    return Field(None)


def _largest(measured: Iterable[int | None]) -> int | None:
    """The largest, or None as soon as one is: the rest need not be measured then."""
    result = 0
    for value in measured:
        if value is None:
            return None
        result = max(result, value)
    return result


def _reach(run: Run, length: int, scale: int, device: torch.device | str) -> int | None:
    """How far a NaN near either end, in two phases, spreads along a strip; None where it meets the other end."""
    at = (0, 1, length - 1, length - 2)
    x = torch.full((len(at), 3, _THICK, length), 0.5, device=device)
    for strip, place in enumerate(at):
        x[strip, :, :, place] = float("nan")
    touched = run(x).isnan().any(1).any(1).cpu()
    reach = 0
    for mask, place in zip(touched, at, strict=True):
        cells = mask.nonzero() // scale
        if not mask.any():  # it has been replaced on its way, so nothing can be said
            return None
        reach = max(reach, int((cells - place).abs().max()))
    return reach if reach < length - 2 else None


def _alignment(run: Run, reach: int, scale: int, device: torch.device | str) -> int | None:
    """The smallest shift of the input that shifts the output by as much; None where no tried one does."""
    length = -(-(2 * reach + _THICK + _SHIFTS[-1]) // 16) * 16
    strip = torch.rand(1, 3, _THICK, length + _SHIFTS[-1], generator=torch.Generator().manual_seed(0)).to(device)
    still = run(strip[..., :length])
    for shift in _SHIFTS:
        moved = run(strip[..., shift : length + shift])
        first, last = scale * (reach + shift), scale * (length - reach)
        here, there = still[..., first:last], moved[..., first - scale * shift : last - scale * shift]
        if torch.allclose(here, there, rtol=1e-5, atol=1e-5):
            return shift
    return None


@torch.inference_mode()
def bytes_per_pixel(run: Run, device: torch.device | str = "cpu") -> float:
    """About how much memory a network needs at once, for each input pixel."""
    side = _LENGTHS[0]
    with _LargestStep() as largest:
        run(torch.full((1, 3, side, side), 0.5, device=device))
    # Beside what one operation reads and writes there are skip connections and the kernels' own copies.
    return 1.5 * largest.bytes / side**2


class _LargestStep(TorchDispatchMode):
    """Notes the most bytes that any one operation reads and writes."""

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
