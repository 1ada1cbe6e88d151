"""The grid metric: a known pattern in levels, and no pattern in ramps, edges and texture."""

import numpy as np
import pytest

from srkd.errors import SrkdError
from srkd.images.colour import rgb_to_y
from srkd.metrics import registry
from srkd.metrics.scores import Pair, Protocol


def value(image: np.ndarray, scale: int) -> float:
    return registry.get("grid")(Pair(image, image, Protocol.default(scale)))


def grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels.astype(np.uint8)[..., None], 3, 2)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_pattern_has_its_root_mean_square_in_luma(scale: int) -> None:
    levels = np.full((24 * scale, 20 * scale), 100)
    levels[::scale, ::scale] += 8
    luma = rgb_to_y(grey(levels)).astype(np.float64)
    assert value(grey(levels), scale) == pytest.approx(luma.std(), rel=1e-6)


def test_a_ramp_and_noise_have_hardly_any() -> None:
    ramp = np.tile(np.arange(160), (160, 1))
    assert value(grey(ramp), 4) == pytest.approx(0, abs=1e-6)
    noise = np.random.default_rng(0).integers(90, 110, (400, 400))
    assert value(grey(noise), 4) < 0.1


def test_a_pattern_of_another_period_counts_little() -> None:
    levels = np.full((160, 160), 100)
    levels[::5, ::5] += 20
    assert value(grey(levels), 4) < 0.05 * levels.std()


def test_an_image_of_one_period_is_reported() -> None:
    with pytest.raises(SrkdError, match="grid needs at least two periods of 4 pixels inside the border, got 14x15"):
        value(np.zeros((15, 14, 3), np.uint8), 4)
