"""The distance of EfficientNet-Lite0's features."""

from __future__ import annotations

from functools import cache

import torch

from srkd.losses.efficientnet import DEFINITION, FeatureDistance
from srkd.metrics.registry import Metric, register
from srkd.metrics.scores import Pair


@register("efficientnet")
class EfficientNetDistance(Metric):
    """Distance of both RGB images' features in EfficientNet-Lite0; at least 32x32 pixels.

    Defined in `srkd.losses.efficientnet.FeatureDistance`, which is also usable as a loss.
    """

    label, digits, lower = "EfficientNet distance", 4, True
    needs = "EfficientNet-Lite0's weights, fetched on first use (18 MB)"
    stamp = f"EfficientNet distance: {DEFINITION}"

    def check(self) -> None:
        _distance()

    def __call__(self, pair: Pair) -> float:
        images = pair.inside("the EfficientNet distance", 32)
        a, b = (torch.from_numpy(image / 255).permute(2, 0, 1)[None].float() for image in images)
        with torch.no_grad():
            return float(_distance()(a, b))


@cache
def _distance() -> FeatureDistance:
    return FeatureDistance()
