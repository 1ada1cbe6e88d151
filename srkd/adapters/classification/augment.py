"""The CIFAR protocol's augmentation, for a whole batch at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def crop_and_flip(images: NDArray[np.uint8], random: np.random.Generator, pad: int = 4) -> NDArray[np.uint8]:
    """(N, H, W, C) images, each with a black margin of `pad`, cut at a random place and mirrored half of the time."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    top, left = random.integers(0, 2 * pad + 1, (2, count))
    cut = windows.transpose(0, 1, 2, 4, 5, 3)[np.arange(count), top, left]
    flipped = random.random(count) < 0.5
    cut[flipped] = cut[flipped, :, ::-1]
    return np.asarray(cut)


def mixing(count: int, alpha: float, random: np.random.Generator) -> tuple[float, NDArray[np.int64]]:
    """Mixup (Zhang et al., ICLR 2018): the first image's share, from Beta(alpha, alpha), and each one's partner."""
    return float(random.beta(alpha, alpha)), random.permutation(count)
