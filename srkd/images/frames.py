"""What animations of all formats share: the part of a frame that changed, and durations in whole units."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Timing = tuple[Sequence[Fraction], int]  # seconds of each frame, number of plays


def changed_box(mask: NDArray[Any], even: bool = False) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of the smallest box around the set values of (H, W); one pixel if none is.

    With `even`, top and left are even.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 1, 1
    top, left = int(rows[0]), int(columns[0])
    step = 2 if even else 1
    return top // step * step, left // step * step, int(rows[-1]) + 1, int(columns[-1]) + 1


def whole_units(durations: Sequence[Fraction], per_second: int, most: int) -> list[int]:
    """Durations in whole units, at most `most`, rounded so that errors do not add up."""
    total, before, result = Fraction(0), 0, []
    for seconds in durations:
        total += seconds
        after = round(total * per_second)
        result.append(min(most, after - before))
        before = after
    return result
