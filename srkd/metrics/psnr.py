"""Peak signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Sequence

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


def pooled(values: Sequence[float]) -> float:
    """PSNR in dB of the mean squared error over all images, from the PSNR of each.

    For decisions: images with little content, whose PSNR is high or infinite, do not dominate it as they do the mean.

    >>> round(pooled([30.0, 30.0, float("inf")]), 2)
    31.76
    """
    error = float(np.mean(10 ** (-np.asarray(values, np.float64) / 10)))
    return float("inf") if error == 0 else float(-10 * np.log10(error))


@register("psnr")
class PSNR(Metric):
    """Peak signal-to-noise ratio of the protocol's channel; infinite for equal images."""

    label, unit, digits, brief_digits = "PSNR", "dB", 3, 2

    def __call__(self, pair: Pair) -> float:
        return psnr(*pair.planes)
