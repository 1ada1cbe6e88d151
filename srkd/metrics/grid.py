"""A pattern that repeats with the upscaling, as perceptual losses let networks draw; a measure without ground truth."""

from __future__ import annotations

import cv2
import numpy as np

from srkd.errors import SrkdError
from srkd.images.colour import rgb_to_y
from srkd.metrics.registry import Metric, register
from srkd.metrics.scores import Pair


@register("grid")
class GridPattern(Metric):
    """Root mean square, in levels of Y, of what repeats over the whole image with the scale as its period.

    Each pixel minus the mean over one period around it (ends at half weight if the period is even), averaged over the
    pixels of equal phase. Photographs have 0.0 to 0.2; from about 0.5 a grid is visible in flat areas. An image of few
    pixels, or one that shows a grid itself, has more.
    """

    label, unit, digits, brief_digits, lower, no_reference = "grid", "levels", 3, 2, True, True
    stamp = "grid: pattern of the scale's period in Y"

    def __call__(self, pair: Pair) -> float:
        period, border = pair.protocol.scale, pair.protocol.crop_border
        half = period // 2
        margin = max(border, half)
        height, width = ((side - 2 * margin) // period * period for side in pair.output.shape[:2])
        if min(height, width) < 2 * period:
            found = f"{pair.output.shape[1]}x{pair.output.shape[0]}"
            raise SrkdError(f"grid needs at least two periods of {period} pixels inside the border, got {found}")
        luma = rgb_to_y(pair.output).astype(np.float64)
        detail = (luma - _means(luma, period))[margin : margin + height, margin : margin + width]
        phases = detail.reshape(height // period, period, width // period, period).mean((0, 2))
        return float(np.sqrt(np.mean(phases**2)))


def _means(luma: np.ndarray, period: int) -> np.ndarray:
    """The mean over one period around each pixel."""
    taps = np.ones(period // 2 * 2 + 1)
    if period % 2 == 0:
        taps[[0, -1]] = 0.5
    return np.asarray(cv2.sepFilter2D(luma, cv2.CV_64F, taps / period, taps / period))
