"""Further inputs made of training images, which a teacher labels: Zhang et al., "Data Upcycling Knowledge Distillation
for Image Super-Resolution" (DUKD), arXiv:2309.14162.

Zoomed in, a window of an HR image is an input. It has no ground truth, so its target is the teacher's output. Zoomed
out, an image is an input at a smaller size: `srkd.data.copies`, which have a ground truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from srkd.data.patches import OUTPUT_STEPS, Outputs, PairedImages, generator

_SEED, _STREAM = 0, 4  # the windows are the same for all runs, so that these share the teacher's outputs


class Zoomed:
    """A window of each HR image as an input, of the size of its LR image; without targets, but with their shapes."""

    def __init__(self, images: PairedImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def lr(self, number: int) -> np.ndarray:
        """The window, which depends only on the image's number and size."""
        hr, (height, width) = self.images.hr(number), self.images.lr(number).shape[:2]
        free = np.array([hr.shape[0] - height, hr.shape[1] - width]) + 1
        y, x = (generator(_SEED, _STREAM, number).random(2) * free).astype(int)
        return hr[y : y + height, x : x + width]

    def hr(self, number: int) -> np.ndarray:
        """A placeholder of the target's shape, which takes no memory."""
        return np.broadcast_to(np.uint8(0), self.images.hr(number).shape)

    def name(self, number: int) -> str:
        return f"{self.images.name(number)}, zoomed"


class LabelledImages(NamedTuple):
    """A teacher's outputs for the images and for `Zoomed` of them, and the teacher's share of the mean."""

    images: Outputs
    zoomed: Outputs
    share: float


class Upcycled:
    """Images followed by their zoomed windows, whose targets are the mean of the teachers' outputs."""

    def __init__(self, images: PairedImages, sources: Sequence[LabelledImages]) -> None:
        self.images, self.zoomed, self.sources = images, Zoomed(images), sources

    def __len__(self) -> int:
        return 2 * len(self.images)

    def lr(self, number: int) -> np.ndarray:
        return self._of(number).lr(number % len(self.images))

    def hr(self, number: int) -> Any:
        """The image, or `MeanOutput` of the teachers' outputs."""
        at = number % len(self.images)
        return self.images.hr(at) if number < len(self.images) else MeanOutput(self.sources, at)

    def name(self, number: int) -> str:
        return self._of(number).name(number % len(self.images))

    def _of(self, number: int) -> PairedImages:
        return self.images if number < len(self.images) else self.zoomed


class MeanOutput:
    """The mean of the teachers' outputs for a zoomed window as uint8 (H, W, 3), computed only where it is cropped."""

    def __init__(self, sources: Sequence[LabelledImages], number: int) -> None:
        self.sources, self.number = sources, number

    def __getitem__(self, window: Any) -> np.ndarray:
        total = sum(source.share for source in self.sources)
        parts = [source.zoomed.image(self.number)[window] * np.float32(source.share / total) for source in self.sources]
        levels: np.ndarray = np.rint(np.clip(np.sum(parts, 0) * (255 / OUTPUT_STEPS), 0, 255)).astype(np.uint8)
        return levels


class UpcycledOutputs:
    """A teacher's outputs for `Upcycled`: for the images, then for their windows."""

    def __init__(self, source: LabelledImages, count: int) -> None:
        self.source, self.count, self.dtype = source, count, source.images.dtype

    def image(self, number: int) -> np.ndarray:
        if number < self.count:
            return self.source.images.image(number)
        return self.source.zoomed.image(number - self.count)
