"""Augmentation against a per-image reference."""

from __future__ import annotations

import numpy as np

from srkd.adapters.classification.augment import crop_and_flip, mixing

IMAGES = np.random.default_rng(0).integers(1, 256, (60, 8, 10, 3)).astype(np.uint8)


def test_each_output_is_a_crop_of_the_padded_image_or_its_mirror_image() -> None:
    out = crop_and_flip(IMAGES, np.random.default_rng(1), pad=2)
    assert out.shape == IMAGES.shape and out.dtype == np.uint8
    places, flips = set(), 0
    for image, result in zip(IMAGES, out, strict=True):
        padded = np.zeros((12, 14, 3), np.uint8)
        padded[2:-2, 2:-2] = image
        found = [
            (y, x, flip)
            for y in range(5)
            for x in range(5)
            for flip in (False, True)
            if np.array_equal(padded[y : y + 8, x : x + 10][:, :: -1 if flip else 1], result)
        ]
        assert len(found) == 1
        places.add(found[0][:2])
        flips += found[0][2]
    assert len(places) > 15 and 15 < flips < 45


def test_output_depends_only_on_the_generator() -> None:
    one, two, other = (crop_and_flip(IMAGES, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_mixing_follows_beta() -> None:
    shares = [mixing(4, 0.2, np.random.default_rng(seed))[0] for seed in range(2000)]
    assert abs(np.mean(shares) - 0.5) < 0.03 and abs(np.var(shares) - 1 / (4 * 1.4)) < 0.01
    assert sorted(mixing(9, 1.0, np.random.default_rng(0))[1].tolist()) == list(range(9))
