"""Peak signal-to-noise ratio."""

from __future__ import annotations

import numpy as np

from srkd.metrics.registry import Metric, register
from srkd.metrics.scores import Pair


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two arrays in 0..255; infinite when they are equal.

    >>> round(psnr(np.zeros((8, 8, 1)), np.full((8, 8, 1), 2.55)), 3)
    40.0
    """
    error = np.mean((a - b) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


@register("psnr")
class PSNR(Metric):
    """Peak signal-to-noise ratio of the protocol's channel; infinite for equal images."""

    label, unit, digits, brief_digits = "PSNR", "dB", 3, 2

    def __call__(self, pair: Pair) -> float:
        return psnr(*pair.planes)
