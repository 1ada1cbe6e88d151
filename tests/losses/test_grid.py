"""The grid loss against sums pixel by pixel, and what it must not see."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import srkd.losses
from srkd.errors import SrkdError


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def grid(height: int, width: int, period: int) -> Tensor:
    """One pixel of each period x period cell is 1."""
    image = torch.zeros(1, 1, height, width, dtype=torch.float64)
    image[..., ::period, ::period] = 1
    return image


def slow(d: Tensor, period: int, cells: int) -> float:
    """One image (H, W): each pixel minus the weighted mean around it, averaged over equal phases of each window."""
    half = period // 2
    weights = [1.0] * (2 * half + 1)
    if period % 2 == 0:
        weights[0] = weights[-1] = 0.5
    height, width = ((side - 2 * half) // period * period for side in d.shape)
    detail = torch.zeros(height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            around = sum(
                weights[i] * weights[j] * float(d[y + i, x + j])
                for i in range(2 * half + 1)
                for j in range(2 * half + 1)
            )
            detail[y, x] = d[y + half, x + half] - around / period**2
    step, values = max(1, cells // 2), []
    for top in range(0, height // period - cells + 1, step):
        for left in range(0, width // period - cells + 1, step):
            window = detail[top * period : (top + cells) * period, left * period : (left + cells) * period]
            values += [abs(float(window[i::period, j::period].mean())) for i in range(period) for j in range(period)]
    return sum(values) / len(values)


@pytest.mark.parametrize(("period", "cells", "shape"), [(2, 2, (13, 12)), (3, 2, (17, 16)), (4, 3, (22, 25))])
def test_it_is_the_mean_over_phases_and_windows(period: int, cells: int, shape: tuple[int, int]) -> None:
    s, t = images(1, 1, *shape), images(1, 1, *shape, seed=1)
    value = srkd.losses.build("grid", period=period, cells=cells)(s, t).item()
    assert value == pytest.approx(slow((s - t)[0, 0], period, cells), rel=1e-9)


@pytest.mark.parametrize("period", [2, 3, 4])
def test_a_grid_counts_in_full_and_smooth_differences_not_at_all(period: int) -> None:
    loss, side = srkd.losses.build("grid", period=period), 16 * period
    still = torch.zeros(1, 1, side, side, dtype=torch.float64)
    share = 1 / period**2  # a pixel of each cell is 1 - share above the mean, the others share below
    assert loss(grid(side, side, period), still).item() == pytest.approx(2 * share * (1 - share), rel=1e-9)
    ramp = torch.linspace(0, 1, side, dtype=torch.float64).expand_as(still)
    assert loss(ramp, still).item() == pytest.approx(0, abs=1e-12)
    assert loss(still + 0.3, still).item() == pytest.approx(0, abs=1e-12)


def test_texture_averages_out() -> None:
    loss, still = srkd.losses.build("grid"), torch.zeros(1, 1, 160, 160, dtype=torch.float64)
    texture = images(1, 1, 160, 160)
    pattern = grid(160, 160, 4) * 4  # of the same standard deviation
    assert loss(texture, still) < loss(pattern, still) / 2


def test_images_and_options_that_are_too_small_are_reported() -> None:
    with pytest.raises(SrkdError, match="at least 24x24"):
        srkd.losses.build("grid").prepare(images(1, 3, 23, 24), images(1, 3, 23, 24))
    with pytest.raises(SrkdError, match="period"):
        srkd.losses.build("grid", period=1)
