"""Scores on a recipe's validation sets while training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import nn

from srkd.errors import unknown
from srkd.io.images import Picture, write_picture
from srkd.sr.infer import device_of, run, to_picture, to_tensor
from srkd.sr.metrics import Protocol, planes, psnr, ssim
from srkd.sr.pictures import validation_pictures
from srkd.sr.recipe import Metric, SRRecipe

# Each takes uint8 RGB output and ground truth, the protocol, and whether the picture is grey.
Measure = Callable[[np.ndarray, np.ndarray, Protocol, bool], float]


def _niqe(output: np.ndarray, hr: np.ndarray, protocol: Protocol, grey: bool) -> float:
    """BasicSR's NIQE, which needs no ground truth."""
    from srkd.integrations import basicsr

    return basicsr.niqe(output, protocol.crop_border)


def _compared(metric: Callable[[np.ndarray, np.ndarray], float]) -> Measure:
    return lambda output, hr, protocol, grey: metric(planes(output, protocol, grey), planes(hr, protocol, grey))


_METRICS: dict[str, Measure] = {
    "calculate_psnr": _compared(psnr),
    "calculate_ssim": _compared(ssim),
    "calculate_niqe": _niqe,
}


class Validator:
    """Scores a network on every validation set of a recipe.

    Args:
        active: whether this process does it; the others return no scores.

    Raises:
        SrkdError: a metric that does not exist, or pictures that cannot be read.
    """

    def __init__(self, recipe: SRRecipe, active: bool) -> None:
        self.scale, self.settings = recipe.scale, recipe.val
        for metric in self.settings.metrics.values():
            if metric.type not in _METRICS:
                raise unknown("metric", metric.type, _METRICS)
        sets = recipe.datasets.validation() if active else []
        self.sets = {spec.name: validation_pictures(spec, recipe.scale) for spec in sets}

    def score(self, network: nn.Module, step: int, folder: Path) -> dict[str, float]:
        """Mean of each metric over each set, by `<metric>_<set>`; pictures go to `folder` where the recipe says so."""
        scores: dict[str, float] = {}
        device = device_of(network)
        for name, pictures in self.sets.items():
            rows: dict[str, list[float]] = {metric: [] for metric in self.settings.metrics}
            for number in range(len(pictures)):
                output = to_picture(run(network, to_tensor(pictures.lr(number), device), self.scale))
                for metric, spec in self.settings.metrics.items():
                    rows[metric].append(self._measure(spec, output, pictures.hr(number), pictures.is_grey(number)))
                if self.settings.save_img:
                    path = folder / name / f"{Path(pictures.name(number)).stem}_{step}.png"
                    write_picture(path, Picture(output))
            scores.update({f"{metric}_{name}": float(np.mean(values)) for metric, values in rows.items()})
        return scores

    def _measure(self, spec: Metric, output: np.ndarray, hr: np.ndarray, grey: bool) -> float:
        border = self.scale if spec.crop_border is None else spec.crop_border
        protocol = Protocol(self.scale, border, "Y" if spec.test_y_channel else "RGB")
        return _METRICS[spec.type](output, hr, protocol, grey)
