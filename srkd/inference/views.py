"""The eight flips and rotations of an image, for self-ensembles (EDSR's "+", CVPRW 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

A = TypeVar("A", "NDArray[np.float32]", "Tensor")


def eight_views(x: A) -> Iterator[tuple[A, Callable[[A], A]]]:
    """Each flip and rotation of an array or tensor (N, C, H, W), with the function that undoes it."""
    for axes in ((), (-1,), (-2,), (-2, -1)):
        yield _flipped(x, axes), partial(_flipped, axes=axes)
        yield _flipped(x, axes).swapaxes(-2, -1), partial(_unturned, axes=axes)


def _flipped(x: Any, axes: tuple[int, ...]) -> Any:
    return np.flip(x, axes) if isinstance(x, np.ndarray) else x.flip(axes)


def _unturned(y: Any, axes: tuple[int, ...]) -> Any:
    return _flipped(y.swapaxes(-2, -1), axes)
