"""Degradations: kernel formulas, noise moments, and reproducibility for a seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import j0

from srkd.data.degradations import (
    KERNELS,
    Degradation,
    Levels,
    Order,
    blur,
    blur_kernel,
    degrade,
    degrade_once,
    gaussian_kernel,
    jpeg,
    sharpened,
    sinc_kernel,
)
from srkd.errors import SrkdError
from srkd.images.resize import imresize

NOTHING = Order(blur_prob=0, resize_prob=(0, 0, 1), noise_range=(0, 0), gaussian_noise_prob=1, jpeg_range=(100, 100))


def image(height: int = 32, width: int = 40) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    planes = [rows * 255 // height, columns * 255 // width, (rows + columns) * 255 // (height + width)]
    return np.stack(planes, -1).astype(np.uint8)


@pytest.mark.parametrize(("beta", "plateau"), [(1.0, False), (0.7, False), (1.5, True)])
def test_a_kernel_matches_its_formula(beta: float, plateau: bool) -> None:
    size, sigma_x, sigma_y, angle = 7, 1.3, 2.1, 0.6
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T)
    slow = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            place = np.array([column - 3, row - 3])
            distance = float(place @ inverse @ place) ** beta
            slow[row, column] = 1 / (1 + distance) if plateau else math.exp(-0.5 * distance)
    fast = gaussian_kernel(size, sigma_x, sigma_y, angle, beta, plateau)
    np.testing.assert_allclose(fast, slow / slow.sum(), rtol=1e-12)


def test_a_sinc_kernel_passes_what_is_below_its_cutoff() -> None:
    cutoff, size = 1.1, 21
    # The inverse Fourier transform of a disc, as an integral over the radius in frequency.
    kernel = sinc_kernel(size, cutoff)
    radii = [0.0, 1.0, 2.0, math.hypot(3, 4)]
    places = [(10, 10), (10, 11), (12, 10), (13, 14)]
    slow = [quad(lambda f, r=radius: f * j0(f * r), 0, cutoff)[0] / (2 * math.pi) for radius in radii]
    found = [kernel[place] for place in places]
    np.testing.assert_allclose(np.array(found) / found[0], np.array(slow) / slow[0], rtol=1e-6)


@pytest.mark.parametrize("kind", KERNELS)
def test_kernels_keep_the_brightness(kind: str) -> None:
    order = Order(kernel_list=(kind,), kernel_prob=(1,), sinc_prob=0)
    kernels = [blur_kernel(order, np.random.default_rng(seed)) for seed in range(20)]
    assert {kernel.shape for kernel in kernels} == {(21, 21)}
    assert all(abs(kernel.sum() - 1) < 1e-5 for kernel in kernels)
    if not kind.endswith("aniso"):
        assert all(np.allclose(kernel, kernel.T, atol=1e-7) for kernel in kernels)
    assert len({kernel.tobytes() for kernel in kernels}) == 20


def test_a_smaller_kernel_size_crops_the_kernel() -> None:
    assert blur_kernel(Order(blur_kernel_size=5), np.random.default_rng(0)).shape == (5, 5)


def test_blurring_is_a_correlation_with_reflected_borders() -> None:
    kernel, pixels = np.random.default_rng(0).random((3, 3)).astype(np.float32), image(6, 5).astype(np.float32) / 255
    wide = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="reflect").astype(np.float64)
    slow = sum(kernel[i, j] * wide[i : i + 6, j : j + 5] for i in range(3) for j in range(3))
    np.testing.assert_allclose(blur(pixels, kernel), slow, atol=1e-6)


def test_without_any_degradation_only_the_size_changes() -> None:
    options = Degradation(NOTHING, NOTHING, final_sinc_prob=0)
    hr = image(32, 40)
    for seed in range(5):
        lr = degrade(hr, 2, np.random.default_rng(seed), options)
        means = hr.reshape(16, 2, 20, 2, 3).mean((1, 3))
        assert lr.shape == (16, 20, 3) and lr.dtype == np.uint8
        assert np.abs(lr.astype(float) - means)[1:-1, 1:-1].mean() < 3  # JPEG of quality 100 subsamples chroma


@pytest.mark.parametrize("gray", [0.0, 1.0])
def test_noise_has_the_configured_strength(gray: float) -> None:
    flat = np.full((128, 128, 3), 128, np.uint8)
    options = Order(
        blur_prob=0,
        resize_prob=(0, 0, 1),
        gaussian_noise_prob=1,
        noise_range=(12, 12),
        gray_noise_prob=gray,
        jpeg_range=(100, 100),
    )
    noisy = degrade(flat, 1, np.random.default_rng(0), Degradation(options, NOTHING, final_sinc_prob=0))
    luma = noisy.astype(float) @ [0.299, 0.587, 0.114]
    expected = 12 if gray else 12 * math.sqrt(0.299**2 + 0.587**2 + 0.114**2)
    assert luma.std() == pytest.approx(expected, rel=0.05)


def test_poisson_noise_grows_with_brightness() -> None:
    # 2 levels in the image: 2 photons at full light, so the variance at brightness b is b / 2 before it is clipped.
    half = np.zeros((256, 256, 3), np.uint8)
    half[:, 128:] = 40
    options = Order(
        blur_prob=0,
        resize_prob=(0, 0, 1),
        gaussian_noise_prob=0,
        poisson_scale_range=(0.2, 0.2),
        gray_noise_prob=0,
        jpeg_range=(100, 100),
    )
    noisy = degrade(half, 1, np.random.default_rng(0), Degradation(options, NOTHING, final_sinc_prob=0)) / 255
    luma = noisy @ [0.299, 0.587, 0.114]
    weight = math.sqrt(0.299**2 + 0.587**2 + 0.114**2)
    assert luma[:, :120].std() < 0.01
    assert luma[:, 136:].std() == pytest.approx(0.2 * math.sqrt(40 / 255 / 2) * weight, rel=0.1)


def test_jpeg_loses_more_at_a_lower_quality() -> None:
    pixels = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    lost = [float(np.abs(jpeg(pixels, quality) - pixels).mean()) for quality in (95, 60, 30)]
    assert lost == sorted(lost) and lost[0] > 0


def test_the_same_seed_gives_the_same_image() -> None:
    one, same, other = (degrade(image(), 4, np.random.default_rng(key)) for key in ((7, 1), (7, 1), (7, 2)))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.mark.parametrize("size", [(4, 4), (4, 64), (5, 9)])
def test_the_smallest_images(size: tuple[int, int]) -> None:
    for seed in range(10):
        assert degrade(image(*size), 4, np.random.default_rng(seed)).shape == (size[0] // 4, size[1] // 4, 3)
    with pytest.raises(SrkdError, match="an image of 3x8 is too small to downscale by 4"):
        degrade(image(8, 3), 4, np.random.default_rng(0))


def test_sharpening_changes_edges_and_not_flat_areas() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert np.array_equal(sharpened(flat), flat)
    edge = flat.copy()
    edge[:, 32:] = 150
    after = sharpened(edge).astype(int)
    assert after[32, 33, 0] > 150 and after[32, 30, 0] < 90 and abs(after[32, 33, 0] - 150) < 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_list": ("isoo",), "kernel_prob": (1,)}, "no kernel 'isoo'"),
        ({"kernel_prob": (0.5, 0.5)}, "kernel_prob: needs 6 probabilities"),
        ({"resize_prob": (0.5, 0.5, 0.5)}, "resize_prob: needs 3 probabilities that sum to 1"),
        ({"resize_range": (0.0, 1.5)}, "resize_range: needs two numbers"),
        ({"noise_range": (30, 1)}, "noise_range: needs two numbers, the lower one first"),
        ({"sinc_prob": 10}, "sinc_prob: needs a probability from 0 to 1, got 10"),
        ({"gray_noise_prob": -0.4}, "gray_noise_prob: needs a probability"),
        ({"betag_range": (-0.5, 4)}, "betag_range: needs two numbers"),
        ({"blur_kernel_size": 20}, "blur_kernel_size: needs an odd number"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        Order(**options)  # type: ignore[arg-type]


def test_a_clean_image_is_downscaled_by_matlabs_bicubic() -> None:
    found = Levels(clean_prob=1.0).apply(image(), 4, np.random.default_rng(0))
    np.testing.assert_array_equal(found, imresize(image(), 1 / 4))


def test_levels_are_drawn_with_their_probabilities() -> None:
    levels, kinds = Levels(clean_prob=0.2, slight_prob=0.5), []
    for seed in range(200):
        found = levels.apply(image(), 4, np.random.default_rng(seed))
        # The first number drawn decides, and the level continues with the same generator.
        random = np.random.default_rng(seed)
        kind = random.random()
        if kind < 0.2:
            expected = imresize(image(), 1 / 4)
        else:
            expected = (degrade_once if kind < 0.7 else degrade)(image(), 4, random)
        np.testing.assert_array_equal(found, expected)
        kinds.append(0 if kind < 0.2 else 1 if kind < 0.7 else 2)
    assert 20 < kinds.count(0) < 60 and 70 < kinds.count(1) < 130


def test_a_slight_degradation_is_close_to_the_clean_image_and_a_strong_one_is_not() -> None:
    def mean_error(levels: Levels) -> float:
        clean = imresize(image(64, 80), 1 / 4).astype(float)
        found = [levels.apply(image(64, 80), 4, np.random.default_rng(seed)) for seed in range(40)]
        return float(np.mean([np.abs(each - clean).mean() for each in found]))

    slight, strong = mean_error(Levels(slight_prob=1.0)), mean_error(Levels())
    assert 0.5 < slight < 6 and strong > 1.5 * slight


def test_levels_need_probabilities() -> None:
    with pytest.raises(SrkdError, match=r"clean_prob and slight_prob: their sum is 1.5"):
        Levels(clean_prob=0.7, slight_prob=0.8)
    with pytest.raises(SrkdError, match=r"slight_prob: needs a probability from 0 to 1, got -0.1"):
        Levels(slight_prob=-0.1)
    with pytest.raises(SrkdError, match="final_sinc_prob"):
        Degradation(final_sinc_prob=2)
