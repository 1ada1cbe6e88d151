"""Pictures for tests that look like pictures."""

from __future__ import annotations

import numpy as np

from srkd.io.resize import imresize
from srkd.sr.data import Patches


def textured(seed: int, height: int, width: int) -> np.ndarray:
    """A uint8 RGB picture of edges, gradients and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(float)
    waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-0.6, 0.6, (3, 3))]
    edges = np.stack([np.sign(w) * 40 + w * 50 for w in waves], -1)
    return np.clip(128 + edges + rng.normal(0, 4, edges.shape), 0, 255).astype(np.uint8)


class Memory:
    """Pictures held in memory."""

    def __init__(self, sizes: list[tuple[int, int]], scale: int = 2) -> None:
        self.pictures = [textured(seed, *size) for seed, size in enumerate(sizes)]
        self.small = [imresize(p, 1 / scale) for p in self.pictures]

    def __len__(self) -> int:
        return len(self.pictures)

    def hr(self, i: int) -> np.ndarray:
        return self.pictures[i]

    def lr(self, i: int) -> np.ndarray:
        return self.small[i]

    def name(self, i: int) -> str:
        return f"p{i}"


PICTURES = Memory([(40, 60), (48, 44), (64, 80)])
PATCHES = Patches(gt_size=16, batch=6, scale=2, seed=3)
