"""PSNR and SSIM by the standard protocol, the stamp that describes it, and metrics by name.

The default protocol: HR cropped to a multiple of the scale, LR by MATLAB's bicubic with antialiasing, output clamped
and rounded to uint8, Y channel of BT.601 (16 to 235, not rounded), a border of `scale` pixels removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from srkd.errors import SrkdError, unknown
from srkd.images.colour import rgb_to_y
from srkd.metrics import perception

# By name: title and number of decimals in tables.
METRICS = {"psnr": ("PSNR (dB)", 3), "ssim": ("SSIM", 4), "niqe": ("NIQE", 3), "lpips": ("LPIPS", 4)}
DEFAULT = ("psnr", "ssim")

_SSIM_WINDOW, _SSIM_SIGMA = 11, 1.5


@dataclass(frozen=True)
class Protocol:
    """How a score was measured. Scores of different protocols are not comparable.

    Args:
        scale: super-resolution factor.
        crop_border: pixels removed on each side.
        channel: "Y" (BT.601 luma) or "RGB" (mean over the three; about 2 dB lower).
        lr: the origin of LR: "matlab_bicubic" from the HR image, or "given".
        self_ensemble: output averaged over the 8 flips and rotations.
        verified: false if the images are named after a data set but do not match its checksums.
    """

    scale: int
    crop_border: int
    channel: str = "Y"
    lr: str = "matlab_bicubic"
    self_ensemble: bool = False
    verified: bool = True

    @classmethod
    def default(cls, scale: int, **changes: Any) -> Protocol:
        """The standard protocol at this scale: Y channel, a border of `scale` pixels."""
        return cls(**{"scale": scale, "crop_border": scale, **changes})

    def stamp(self, metrics: Sequence[str] = DEFAULT) -> str:
        """One line with everything needed to compare scores of these metrics."""
        low = "MATLAB bicubic LR" if self.lr == "matlab_bicubic" else "LR as given"
        ensemble = ", self-ensemble x8" if self.self_ensemble else ""
        channel = "Y (BT.601)" if self.channel == "Y" else self.channel
        images = "" if self.verified else ", images not verified"
        own = "".join(f"; {perception.STAMPS[name]}" for name in metrics if name in perception.STAMPS)
        return f"x{self.scale}, {low}, uint8 output, {channel}, border {self.crop_border} px{ensemble}{images}{own}"

    def as_dict(self, metrics: Sequence[str] = DEFAULT) -> dict[str, Any]:
        return {**asdict(self), "stamp": self.stamp(metrics)}


def planes(image: np.ndarray, protocol: Protocol, grey: bool = False) -> np.ndarray:
    """The values compared: (H, W, 1) or (H, W, 3) float64 in 0..255, border removed.

    Args:
        image: uint8 RGB (H, W, 3).
        grey: the image's file is grey. The literature uses its values unchanged, not scaled to 16 to 235 (one image of
            Set14; 0.1 dB of that set's mean).
    """
    values = image
    if protocol.channel == "Y":
        luma = rgb_to_y(image)[..., None]
        values = (luma - 16) * (255 / 219) if grey else luma
    border = protocol.crop_border
    height, width = values.shape[:2]
    if min(height, width) <= 2 * border:
        raise SrkdError(f"an image of {width}x{height} is too small for a border of {border} px")
    return values[border : height - border, border : width - border].astype(np.float64)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two arrays in 0..255; infinite when they are equal.

    >>> round(psnr(np.zeros((8, 8, 1)), np.full((8, 8, 1), 2.55)), 3)
    40.0
    """
    error = np.mean((a - b) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity (Wang et al., 2004): 11x11 Gaussian of sigma 1.5 over the valid region, mean over channels.

    Args:
        a, b: float64 (H, W, C) in 0..255, at least 11x11.
    """
    if min(a.shape[:2]) < _SSIM_WINDOW:
        raise SrkdError(f"SSIM needs at least 11x11 pixels inside the border, got {a.shape[1]}x{a.shape[0]}")
    return float(np.mean([_ssim_plane(a[..., c], b[..., c]) for c in range(a.shape[2])]))


def _ssim_plane(a: np.ndarray, b: np.ndarray) -> float:
    kernel = cv2.getGaussianKernel(_SSIM_WINDOW, _SSIM_SIGMA)
    margin = _SSIM_WINDOW // 2

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


def check(metrics: Sequence[str]) -> None:
    """Check names of metrics and their required packages and files before scoring.

    Raises:
        SrkdError: an unknown or repeated name, no names, or a missing package or file and how to get it.
    """
    if not metrics or len(set(metrics)) < len(metrics):
        raise SrkdError(f"metrics: list each once, from {', '.join(METRICS)}; got {', '.join(metrics) or 'none'}")
    for name in metrics:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
        perception.check(name)


def score(
    output: np.ndarray, hr: np.ndarray, protocol: Protocol, grey: bool = False, metrics: Sequence[str] = DEFAULT
) -> dict[str, float]:
    """Scores of one uint8 RGB image against its ground truth of the same size, by metric.

    Raises:
        SrkdError: sizes differ, or the image is too small for the border or for a metric.
    """
    if output.shape != hr.shape:
        raise SrkdError(f"output is {output.shape[1]}x{output.shape[0]}, ground truth {hr.shape[1]}x{hr.shape[0]}")
    a, b = planes(output, protocol, grey), planes(hr, protocol, grey)
    border = protocol.crop_border
    measures = {
        "psnr": lambda: psnr(a, b),
        "ssim": lambda: ssim(a, b),
        "niqe": lambda: perception.niqe(output, border),
        "lpips": lambda: perception.lpips(output, hr, border),
    }
    return {name: measures[name]() for name in metrics}
