"""Resizing an image whose rows arrive block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from srkd.images.resize import contributions, resize_rows

Floats = NDArray[np.float32]


class RowResizer:
    """Bicubic with antialiasing, as `srkd.images.resize.imresize` on floats, from (H, W) to `size` = (height, width).

    `push` takes the next rows (n, W, C) as float32 and returns those output rows that they complete.
    """

    def __init__(self, shape: tuple[int, int], size: tuple[int, int]) -> None:
        self._down = contributions(shape[0], size[0], size[0] / shape[0])
        self._across = contributions(shape[1], size[1], size[1] / shape[1])
        self._needs = self._down[1].max(axis=1)
        self._from = np.minimum.accumulate(self._down[1].min(axis=1)[::-1])[::-1]
        self._waiting: Floats | None = None
        self._first, self._done = 0, 0

    def push(self, rows: Floats) -> Floats:
        narrow = _resized_columns(rows, self._across)
        waiting = narrow if self._waiting is None else np.concatenate([self._waiting, narrow])
        received = self._first + len(waiting)
        ready = int(np.searchsorted(np.maximum.accumulate(self._needs), received))
        weight, index = self._down
        result = resize_rows(waiting, weight[self._done : ready], index[self._done : ready] - self._first)
        self._done = ready
        keep = int(self._from[ready]) if ready < len(self._from) else received
        self._waiting = waiting[keep - self._first :].copy()
        self._first = keep
        return result


def _resized_columns(rows: Floats, plan: tuple[NDArray[np.float64], NDArray[np.intp]]) -> Any:
    return np.ascontiguousarray(resize_rows(np.ascontiguousarray(rows.swapaxes(0, 1)), *plan).swapaxes(0, 1))
