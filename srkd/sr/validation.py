"""Scores on a recipe's validation sets during training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from srkd.data.store import ImageStore
from srkd.errors import SrkdError, one_line_errors
from srkd.images.read import ImageData, write_image
from srkd.inference.model import Model
from srkd.metrics import registry
from srkd.metrics.scores import Protocol, score
from srkd.networks.probe import probe
from srkd.networks.sides import Sides
from srkd.sr.recipe import SRRecipe, ValidationMetric
from srkd.sr.training_images import validation_images
from srkd.training.distillation import evaluating


class Validator:
    """Scores a network on every validation set of a recipe.

    Args:
        active: whether this process computes scores; otherwise there are none.

    Raises:
        SrkdError: an unknown metric, or one whose package or weights are missing; images that cannot be read.
    """

    def __init__(self, recipe: SRRecipe, active: bool) -> None:
        self.scale, self.settings = recipe.scale, recipe.val
        self._sides: Sides | None = None
        for metric in self.settings.metrics.values():
            registry.of_basicsr(metric.type).check()
        sets = recipe.datasets.validation() if active else []
        self.sets = {spec.name: validation_images(spec, recipe.scale) for spec in sets}

    def dry_run(self, network: nn.Module) -> None:
        """Score the two images of each set that are most likely to fail: the smallest and the least divisible.

        Raises:
            SrkdError: one line with the failures of each set.
        """
        mistakes = []
        with evaluating(network):
            for name, images in self.sets.items():
                try:
                    for number in _most_likely_to_fail(images):
                        self._scores(network, images, number)
                except SrkdError as error:
                    mistakes.append(f'validation set "{name}": {error}')
        if mistakes:
            raise SrkdError("; ".join(mistakes))

    def score(self, network: nn.Module, step: int, folder: Path) -> dict[str, float]:
        """Mean of each metric over each set, by `<metric>_<set>`; with `save_img`, outputs are written to `folder`."""
        scores: dict[str, float] = {}
        for name, images in self.sets.items():
            rows: list[dict[str, float]] = []
            for number in range(len(images)):
                output, found = self._scores(network, images, number)
                rows.append(found)
                if self.settings.save_img:
                    path = folder / name / f"{images.name(number)}_{step}.png"
                    write_image(path, ImageData(output))
            scores.update({f"{m}_{name}": float(np.mean([row[m] for row in rows])) for m in self.settings.metrics})
        return scores

    def _scores(self, network: nn.Module, images: ImageStore, number: int) -> tuple[np.ndarray, dict[str, float]]:
        """The network's output for an image, uint8 (H, W, 3), and its scores. Raises SrkdError naming the image."""
        lr, hr, grey = images.lr(number), images.hr(number), images.is_grey(number)
        what = f"{images.name(number)} (LR {lr.shape[1]}x{lr.shape[0]})"
        sides = self._sides_of(network)
        try:
            with one_line_errors("the network"):
                output = Model(network, self.scale, sides=sides)(lr[None])[0]
            return output, {m: self._measure(spec, output, hr, grey) for m, spec in self.settings.metrics.items()}
        except SrkdError as error:
            raise SrkdError(f"{what}: {error}") from error

    def _sides_of(self, network: nn.Module) -> Sides:
        """Input sizes that the network supports, found once before its first image."""
        if self._sides is None:
            found = probe(network, self.scale) if self.sets else None
            self._sides = Sides() if found is None else found.sides
        return self._sides

    def _measure(self, spec: ValidationMetric, output: np.ndarray, hr: np.ndarray, grey: bool) -> float:
        border = self.scale if spec.crop_border is None else spec.crop_border
        protocol = Protocol(self.scale, border, "Y" if spec.test_y_channel else "RGB")
        with one_line_errors(spec.type):
            name = registry.of_basicsr(spec.type).name
            return score(output, hr, protocol, grey, [name])[name]


def _most_likely_to_fail(images: ImageStore) -> set[int]:
    """The smallest image, and the one with an LR side divisible by the smallest power of two."""
    sides = {number: images.lr(number).shape[:2] for number in range(len(images))}
    smallest = min(sides, key=lambda i: (min(sides[i]), max(sides[i])))
    least_divisible = min(sides, key=lambda i: (min(side & -side for side in sides[i]), min(sides[i]), max(sides[i])))
    return {smallest, least_divisible}
