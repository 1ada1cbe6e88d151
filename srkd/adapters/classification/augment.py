"""Data augmentation of the CIFAR protocol, vectorised over a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def crop_and_flip(images: NDArray[np.uint8], random: np.random.Generator, pad: int = 4) -> NDArray[np.uint8]:
    """Pad images (N, H, W, C) by `pad` black pixels, crop at random, and flip horizontally with probability 1/2."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    top, left = random.integers(0, 2 * pad + 1, (2, count))
    crops = windows.transpose(0, 1, 2, 4, 5, 3)[np.arange(count), top, left]
    flipped = random.random(count) < 0.5
    crops[flipped] = crops[flipped, :, ::-1]
    return np.asarray(crops)


def mixing(count: int, alpha: float, random: np.random.Generator) -> tuple[float, NDArray[np.int64]]:
    """Mixup (Zhang et al., ICLR 2018): lambda drawn from Beta(alpha, alpha), and the partner of each image (N)."""
    return float(random.beta(alpha, alpha)), random.permutation(count)
