"""NIQE, a measure without ground truth."""

from __future__ import annotations

import numpy as np

from srkd.errors import SrkdError
from srkd.integrations import basicsr
from srkd.metrics.registry import Metric, register
from srkd.metrics.scores import Pair

_BLOCK = 96  # pixels


@register("niqe")
class NIQE(Metric):
    """Distance of the image's statistics from those of natural images, as BasicSR computes it on Y; no ground truth.

    Source: Mittal et al., "Making a Completely Blind Image Quality Analyzer", SPL 2013.
    """

    label, digits, lower, no_reference = "NIQE", 3, True, True
    needs = "basicsr"
    stamp = "NIQE: BasicSR's, on Y, without ground truth"

    def check(self) -> None:
        basicsr.package()

    def __call__(self, pair: Pair) -> float:
        border = pair.protocol.crop_border
        height, width = (side - 2 * border for side in pair.output.shape[:2])
        if (height // _BLOCK) * (width // _BLOCK) < 2:
            raise SrkdError(f"NIQE needs at least two blocks of 96x96 pixels inside the border, got {width}x{height}")
        try:
            return basicsr.niqe(pair.output, border)
        except np.linalg.LinAlgError as error:
            raise SrkdError(f"NIQE's statistics of this image are degenerate: {error}") from error
