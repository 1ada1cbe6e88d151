"""Structural similarity."""

from __future__ import annotations

import cv2
import numpy as np

from srkd.errors import SrkdError
from srkd.metrics.registry import Metric, register
from srkd.metrics.scores import Pair

_WINDOW, _SIGMA = 11, 1.5


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity (Wang et al., 2004): 11x11 Gaussian of sigma 1.5 over the valid region, mean over channels.

    Args:
        a, b: float64 (H, W, C) in 0..255, at least 11x11.
    """
    if min(a.shape[:2]) < _WINDOW:
        raise SrkdError(f"SSIM needs at least 11x11 pixels inside the border, got {a.shape[1]}x{a.shape[0]}")
    return float(np.mean([_plane(a[..., c], b[..., c]) for c in range(a.shape[2])]))


def _plane(a: np.ndarray, b: np.ndarray) -> float:
    kernel = cv2.getGaussianKernel(_WINDOW, _SIGMA)
    margin = _WINDOW // 2

    def blur(x: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(x, cv2.CV_64F, kernel, kernel)[margin:-margin, margin:-margin]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = blur(a), blur(b)
    variance_a = blur(a * a) - mean_a**2
    variance_b = blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return float((luminance * structure).mean())


@register("ssim")
class SSIM(Metric):
    """Structural similarity of the protocol's channel, at most 1 (Wang et al., TIP 2004)."""

    label, digits = "SSIM", 4

    def __call__(self, pair: Pair) -> float:
        return ssim(*pair.planes)
