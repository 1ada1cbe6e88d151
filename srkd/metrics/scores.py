"""The standard protocol, the stamp that describes it, and an image's scores under it.

The default protocol: HR cropped to a multiple of the scale, LR by MATLAB's bicubic with antialiasing, output clamped
and rounded to uint8, Y channel of BT.601 (16 to 235, not rounded), a border of `scale` pixels removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from srkd.errors import SrkdError
from srkd.images.colour import rgb_to_y
from srkd.metrics import registry
from srkd.metrics.registry import DEFAULT


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
        own = "".join(f"; {stamp}" for name in metrics if (stamp := registry.get(name).stamp))
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


@dataclass(frozen=True)
class Pair:
    """What a metric compares: an output and its ground truth, uint8 RGB (H, W, 3) of one size, under a protocol.

    `grey` as in `planes`.
    """

    output: np.ndarray
    hr: np.ndarray
    protocol: Protocol
    grey: bool = False

    @cached_property
    def planes(self) -> tuple[np.ndarray, np.ndarray]:
        """`planes` of both."""
        return planes(self.output, self.protocol, self.grey), planes(self.hr, self.protocol, self.grey)

    def inside(self, metric: str, smallest: int) -> tuple[np.ndarray, np.ndarray]:
        """Both images inside the border, uint8 RGB.

        Raises:
            SrkdError: a side is shorter than `smallest` pixels; the message names the metric.
        """
        border = self.protocol.crop_border
        height, width = (side - 2 * border for side in self.output.shape[:2])
        if min(height, width) < smallest:
            raise SrkdError(
                f"{metric} needs at least {smallest}x{smallest} pixels inside the border, got {width}x{height}"
            )
        window = (slice(border, border + height), slice(border, border + width))
        return self.output[window], self.hr[window]


def score(
    output: np.ndarray, hr: np.ndarray, protocol: Protocol, grey: bool = False, metrics: Sequence[str] = DEFAULT
) -> dict[str, float]:
    """Scores of one uint8 RGB image against its ground truth of the same size, by metric.

    Raises:
        SrkdError: sizes differ, or the image is too small for the border or for a metric.
    """
    if output.shape != hr.shape:
        raise SrkdError(f"output is {output.shape[1]}x{output.shape[0]}, ground truth {hr.shape[1]}x{hr.shape[0]}")
    pair = Pair(output, hr, protocol, grey)
    return {name: registry.get(name)(pair) for name in metrics}
