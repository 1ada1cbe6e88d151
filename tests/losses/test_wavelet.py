"""The wavelet loss against the matrix of the Haar transform."""

from __future__ import annotations

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError
from srkd.losses.wavelet import haar


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix(side):
    """Orthonormal Haar analysis of one dimension: averages above, differences below."""
    m = torch.zeros(side, side, dtype=torch.float64)
    for i in range(side // 2):
        m[i, 2 * i] = m[i, 2 * i + 1] = m[side // 2 + i, 2 * i] = 0.5**0.5
        m[side // 2 + i, 2 * i + 1] = -(0.5**0.5)
    return m


def bands(x):
    h, w = x.shape[2] // 2, x.shape[3] // 2
    full = matrix(2 * h) @ x @ matrix(2 * w).T
    return full[..., :h, :w], [full[..., h:, :w], full[..., :h, w:], full[..., h:, w:]]


def test_haar_is_the_orthonormal_transform():
    x = images(2, 3, 4, 6)
    low, high = haar(x)
    expected_low, expected_high = bands(x)
    torch.testing.assert_close(low, expected_low)
    for band, other in zip(high, expected_high, strict=True):
        torch.testing.assert_close(band, other)
    assert sum(b.square().sum() for b in (low, *high)).item() == pytest.approx(x.square().sum().item())


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
@pytest.mark.parametrize("low", [False, True])
def test_wavelet_sums_levels_of_mean_high_bands(levels, low):
    s, t = images(1, 3, 16, 32), images(1, 3, 16, 32, seed=1)
    ours, theirs, expected = s, t, 0.0
    for _ in range(levels):
        (ours, high_s), (theirs, high_t) = bands(ours), bands(theirs)
        expected += torch.stack([(a - b).abs() for a, b in zip(high_s, high_t, strict=True)]).mean().item()
    if low:
        expected += (ours - theirs).abs().mean().item()
    assert srkd.losses.build("wavelet", levels=levels, low=low)(s, t).item() == pytest.approx(expected, rel=1e-9)


def test_a_brightness_shift_has_no_high_bands():
    s = images(1, 3, 8, 8)
    assert srkd.losses.build("wavelet", levels=3)(s, s + 0.5).item() == pytest.approx(0, abs=1e-12)


def test_odd_sides_drop_the_last_row_and_column():
    s, t = images(1, 3, 9, 11), images(1, 3, 9, 11, seed=1)
    loss = srkd.losses.build("wavelet")
    assert loss(s, t).item() == pytest.approx(loss(s[..., :8, :10], t[..., :8, :10]).item(), rel=1e-12)


def test_images_too_small_for_the_levels_raise():
    with pytest.raises(SrkdError, match="4 levels need sides of at least 16"):
        srkd.losses.build("wavelet", levels=4).prepare(images(1, 3, 16, 8), images(1, 3, 16, 8))
    with pytest.raises(srkd.errors.SrkdError, match="levels must be an integer from 1 to 4, got 5"):
        srkd.losses.build("wavelet", levels=5)
