from __future__ import annotations

import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from srkd.images.colour import rgb_to_y
from srkd.images.resize import imresize, modcrop, shrunk, shrunk_size

DATA = Path(os.environ.get("SRKD_DATA", Path(__file__).parents[3] / "shared" / "data"))
RNG = np.random.default_rng(0)


def cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def slow_line(line: list[float], out_length: int, scale: float) -> list[float]:
    """One dimension by MATLAB's documentation: a stretched kernel over a line mirrored at both ends."""
    period = line + line[::-1]
    mirrored = {i: period[i % len(period)] for i in range(-40, len(line) + 40)}
    stretch, result = min(scale, 1.0), []
    for j in range(out_length):
        centre = (j + 1) / scale + 0.5 * (1 - 1 / scale) - 1
        weights = {i: stretch * cubic(stretch * (centre - i)) for i in mirrored if abs(stretch * (centre - i)) < 2}
        result.append(sum(w * mirrored[i] for i, w in weights.items()) / sum(weights.values()))
    return result


def slow(image: np.ndarray, scale: float) -> np.ndarray:
    height, width = (math.ceil(scale * n) for n in image.shape)
    integer = image.dtype == np.uint8

    def finish(x: np.ndarray) -> np.ndarray:
        return np.clip(np.floor(x + 0.5), 0, 255) if integer else x

    rows = finish(np.array([slow_line(list(c), height, scale) for c in image.T.astype(float)]).T)
    return finish(np.array([slow_line(list(r), width, scale) for r in rows])).astype(image.dtype)


@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 1 / 4, 2, 3, 0.7, 1.6])
def test_matches_the_definition(scale: float) -> None:
    image = RNG.random((17, 13)) * 255
    np.testing.assert_allclose(imresize(image, scale), slow(image, scale), atol=1e-9)
    whole = RNG.integers(0, 256, (17, 13), dtype=np.uint8)
    np.testing.assert_array_equal(imresize(whole, scale), slow(whole, scale))


def in_matlabs_order(lines: np.ndarray, scale: float) -> np.ndarray:
    """The first dimension of an integer image resized as MATLAB's imresize.m computes it, operation by operation."""
    length, out_length, stretch = len(lines), math.ceil(scale * len(lines)), min(scale, 1.0)
    u = np.arange(1, out_length + 1) / scale + 0.5 * (1 - 1 / scale)
    indices = np.floor(u - 2 / stretch)[:, None] + np.arange(math.ceil(4 / stretch) + 2)
    x = np.abs(stretch * (u[:, None] - indices))
    x2, x3 = x * x, x * x * x
    near, far = 1.5 * x3 - 2.5 * x2 + 1, -0.5 * x3 + 2.5 * x2 - 4 * x + 2
    weights = stretch * (near * (x <= 1) + far * ((x > 1) & (x <= 2)))
    weights /= weights.sum(1, keepdims=True)
    aux = np.r_[1 : length + 1, length:0:-1]
    total = np.zeros((out_length, *lines.shape[1:]))
    for weight, index in zip(weights.T, aux[np.mod(indices - 1, 2 * length).astype(int)].T - 1, strict=True):
        total += weight[:, None] * lines[index]
    return np.clip(np.floor(total + 0.5), 0, 255)


@pytest.mark.parametrize("scale", [0.35, 0.4, 0.9, 1.5, 2.5])
def test_values_between_two_levels_are_rounded_as_by_matlab(scale: float) -> None:
    image = np.random.default_rng(1).integers(0, 256, (120, 120), dtype=np.uint8)
    np.testing.assert_array_equal(imresize(image, scale), in_matlabs_order(in_matlabs_order(image, scale).T, scale).T)


def test_rows_go_first_and_are_rounded_between() -> None:
    image = RNG.integers(0, 256, (12, 12), dtype=np.uint8)
    expected = slow(image, 0.5)
    columns_first = slow(np.ascontiguousarray(image.T), 0.5).T
    assert (expected != columns_first).any()
    np.testing.assert_array_equal(imresize(image, 0.5), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_a_constant_image_stays_constant(dtype: type) -> None:
    image = np.full((9, 11, 4), 200, dtype)
    for scale in (0.5, 1 / 3, 2.5, (5, 40)):
        result = imresize(image, scale)
        assert result.dtype == dtype
        np.testing.assert_allclose(result, 200, rtol=1e-6)


def test_sizes() -> None:
    image = np.zeros((10, 7, 3), np.uint8)
    assert imresize(image, 0.5).shape == (5, 4, 3)
    assert imresize(image, (3, 21)).shape == (3, 21, 3)
    assert imresize(np.zeros((1, 1), np.uint8), 4).shape == (4, 4)
    assert modcrop(image, 4).shape == (8, 4, 3)
    for size in (300, 1536, 2043):
        assert (
            imresize(np.zeros((size, 1), np.uint8), (size // 3, 1)).shape[0]
            == imresize(np.zeros((size - size % 3, 3), np.uint8), 1 / 3).shape[0]
        )


def test_same_size_changes_nothing() -> None:
    image = RNG.integers(0, 65536, (8, 9, 3), dtype=np.uint16)
    np.testing.assert_array_equal(imresize(image, 1), image)


def test_invalid_inputs_raise() -> None:
    with pytest.raises(ValueError, match="int32"):
        imresize(np.zeros((4, 4), np.int32), 2)
    with pytest.raises(ValueError, match=r"\(0, 4\)"):
        imresize(np.zeros((0, 4), np.uint8), 2)
    with pytest.raises(ValueError, match="positive scale"):
        imresize(np.zeros((4, 4), np.uint8), 0)


def test_luma_of_known_colours() -> None:
    rgb = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(rgb_to_y(rgb)[0], [16, 235, 81.481, 144.553, 40.966], atol=1e-9)
    with pytest.raises(ValueError, match="last dimension"):
        rgb_to_y(np.zeros((4, 4), np.uint8))


# Published values have two decimals, and some papers computed them on Y only: tolerance 0.02 dB.
@pytest.mark.parametrize(("name", "scale", "published"), [("Set5", 2, 33.66), ("Set5", 4, 28.42), ("B100", 2, 29.56)])
def test_published_bicubic_scores(name: str, scale: int, published: float) -> None:
    folder = DATA / "sr" / "eval" / name / "HR"
    if not folder.is_dir():
        pytest.skip(f"needs the images of {name} in {folder}; set SRKD_DATA")
    scores = []
    for path in sorted(folder.glob("*.png")):
        hr = np.ascontiguousarray(modcrop(cv2.imread(str(path))[..., ::-1], scale))
        sr = imresize(imresize(hr, 1 / scale), scale)
        error = (rgb_to_y(hr) - rgb_to_y(sr))[scale:-scale, scale:-scale]
        scores.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert np.mean(scores) == pytest.approx(published, abs=0.02)


def test_shrinking_averages_and_never_enlarges() -> None:
    stripes = np.zeros((40, 40, 3), np.uint8)
    stripes[:, ::2] = 200
    assert shrunk_size(40, 30, 40) == (40, 30) and shrunk_size(40, 30, 20) == (20, 15)
    assert np.array_equal(shrunk(stripes, (40, 40)), stripes)
    assert set(np.unique(shrunk(stripes, (20, 20)))) == {100}
