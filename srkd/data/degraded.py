"""Degraded patches of images: patch n of a seed is always the same, so that a teacher's outputs can be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from srkd.data.degradations import Levels, sharpened
from srkd.data.like import Like
from srkd.data.patches import codes, generator, turned
from srkd.errors import SrkdError

# More LR pixels than a patch are degraded and the patch is cut from them: neither its borders nor the position of its
# JPEG blocks are then always the same.
_MARGIN = 16
_PLACE, _DEGRADE = 2, 3  # streams of the random generator; `srkd.data.patches` uses 0 and 1


class HRImages(Protocol):
    """HR images, uint8 RGB (H, W, 3)."""

    def __len__(self) -> int: ...
    def hr(self, number: int) -> np.ndarray: ...


@dataclass(frozen=True)
class CropPlan:
    """How patches are made: LR side in pixels, the teacher's scale, the degradations, flips and rotations, the seed."""

    lr_size: int
    scale: int
    levels: Levels | Like
    sampling: str = "picture"
    hflip: bool = True
    rot: bool = False
    seed: int = 0

    def describe(self) -> dict[str, Any]:
        """Plain data that determine the patches, given the images."""
        return asdict(self)


@dataclass(frozen=True)
class _Place:
    """A window of an image, and the patch in its degraded version: `side` and `y`, `x` in HR pixels, `top` and `left`
    in LR pixels."""

    image: int
    y: int
    x: int
    side: int
    top: int
    left: int
    turn: int


class DegradedPatches:
    """Patches by number.

    Args:
        images: those smaller than a patch are never used.
        sharpen: degrade the images sharpened, as Real-ESRGAN does.

    Raises:
        SrkdError: no image is as large as a patch.
    """

    def __init__(self, images: HRImages, plan: CropPlan, sharpen: bool = False) -> None:
        self.images, self.plan, self.sharpen = images, plan, sharpen
        sides = np.array([min(images.hr(i).shape[:2]) for i in range(len(images))])
        self.numbers = np.flatnonzero(sides >= plan.lr_size * plan.scale)
        if not len(self.numbers):
            raise SrkdError(f"no image is as large as a patch of {plan.lr_size * plan.scale} pixels")
        if isinstance(plan.levels, Levels):
            _check_resizing(plan, plan.levels)
        self._windows = np.minimum(sides // plan.scale, plan.lr_size + _MARGIN) * plan.scale
        self._edges = np.cumsum(self._weights(images, self.numbers))

    def _weights(self, images: HRImages, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        if self.plan.sampling != "area":
            return np.full(len(numbers), 1 / len(numbers))
        areas = [np.prod(np.array(images.hr(i).shape[:2]) - self._windows[i] + 1) for i in numbers]
        result: np.ndarray = np.array(areas) / np.sum(areas)
        return result

    def draw(self, number: int) -> np.ndarray:
        """Patch `number`, degraded: uint8 (n, n, 3)."""
        place, plan = self._place(number), self.plan
        window = self._window(place, self.sharpen)
        degraded = plan.levels.apply(window, plan.scale, generator(plan.seed, _DEGRADE, number))
        lr = degraded[place.top : place.top + plan.lr_size, place.left : place.left + plan.lr_size]
        return np.ascontiguousarray(lr)

    def hr(self, number: int, sharpen: bool = False) -> np.ndarray:
        """The ground truth of patch `number`, or a sharpened version of it: uint8 (scale n, scale n, 3)."""
        place, scale = self._place(number), self.plan.scale
        size, top, left = self.plan.lr_size * scale, place.top * scale, place.left * scale
        return np.ascontiguousarray(self._window(place, sharpen)[top : top + size, left : left + size])

    def _place(self, number: int) -> _Place:
        rng = generator(self.plan.seed, _PLACE, number)
        which = min(int(np.searchsorted(self._edges, rng.random())), len(self.numbers) - 1)
        image = int(self.numbers[which])
        side = int(self._windows[image])
        corner, inside = rng.random(2), rng.random(2)
        y, x = (corner * (np.array(self.images.hr(image).shape[:2]) - side + 1)).astype(int)
        top, left = (inside * (side // self.plan.scale - self.plan.lr_size + 1)).astype(int)
        turn = int(codes(rng, 1, self.plan.hflip, self.plan.rot)[0])
        return _Place(image, int(y), int(x), side, int(top), int(left), turn)

    def _window(self, place: _Place, sharpen: bool = False) -> np.ndarray:
        # Turned before it is degraded: JPEG and resizing are not symmetric.
        image = self.images.hr(place.image)
        window = turned(image[place.y : place.y + place.side, place.x : place.x + place.side], place.turn)
        return sharpened(np.ascontiguousarray(window)) if sharpen else window


class DegradedSource:
    """Batches of degraded patches: `lr`, `hr`, and, if asked for, `sharp`, the sharpened `hr`.

    Patch k of batch b is number b * batch + k: no patch ever comes again.

    Args:
        batch: patches per batch, over all processes.
    """

    def __init__(self, patches: DegradedPatches, batch: int, sharp: bool = False) -> None:
        self.patches, self.batch, self.sharp = patches, batch, sharp

    def draw(self, number: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """Arrays of this process's share of global batch `number`."""
        numbers = range(number * self.batch + rank, (number + 1) * self.batch, world)
        drawn = {"lr": [self.patches.draw(n) for n in numbers], "hr": [self.patches.hr(n) for n in numbers]}
        if self.sharp:
            drawn["sharp"] = [self.patches.hr(n, sharpen=True) for n in numbers]
        return {**{side: np.stack(images) for side, images in drawn.items()}, "index": np.array(numbers)}


def _check_resizing(plan: CropPlan, levels: Levels) -> None:
    for which, order in (("resize_range", levels.strong.first), ("resize_range2", levels.strong.second)):
        side = plan.lr_size * (plan.scale if which == "resize_range" else 1)
        if side * order.resize_range[0] < 1:
            raise SrkdError(f"{which}: {order.resize_range[0]} shrinks {side} pixels to nothing; raise it")
