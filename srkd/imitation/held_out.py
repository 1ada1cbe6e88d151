"""Held-out images for an imitation: inputs and the teacher's outputs, written once as PNG to the cache folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from srkd.data.degradations import Levels
from srkd.data.like import Like
from srkd.data.patches import generator
from srkd.data.store import ImageStore
from srkd.files.cache import cache_place, own_place
from srkd.files.lock import locked
from srkd.images.read import ImageData, write_image
from srkd.imitation.recipe import ImitationValSet
from srkd.imitation.source import shrunk
from srkd.imitation.teachers import OutputTeacher
from srkd.sr.recipe import ValSet
from srkd.sr.teacher_cache import key
from srkd.sr.training_images import validation_images
from srkd.training.task import OutOfTimeError

_DEGRADE = 6  # stream of the random generator


class HeldOut:
    """A held-out set of an imitation recipe: `lr/`, `hr/` (the teacher's outputs) and `gt/` if its images are degraded.

    Args:
        scale: the student's; outputs of a teacher of a multiple of it are shrunk by area.
        seed: of the degradations.
        parent: folder of banks; None: the user's cache folder.

    Raises:
        SrkdError: the images cannot be read.
    """

    def __init__(
        self,
        spec: ImitationValSet,
        teacher: OutputTeacher,
        scale: int,
        levels: Levels | Like,
        seed: int = 0,
        parent: Path | None = None,
    ) -> None:
        self.spec, self.teacher, self.scale, self.levels, self.seed = spec, teacher, scale, levels, seed
        self.images: ImageStore = validation_images(spec, teacher.scale)
        degraded = repr(levels) if spec.degrade else ""
        settings = {"crop": spec.crop, "degraded": degraded, "seed": seed, "scale": scale}
        name = f"held-out-{key(teacher=teacher.digest, images=self.images.fingerprint, **settings)}"
        self.folder = own_place(parent / name) if parent else cache_place("teachers", name)

    @property
    def val_set(self) -> ValSet:
        """The set as validations read it."""
        return ValSet(name=self.spec.name, dataroot_gt=str(self.folder / "hr"), dataroot_lq=str(self.folder / "lr"))

    def _paths(self, number: int) -> list[Path]:
        sides = ["lr", "hr", "gt"] if self.spec.degrade else ["lr", "hr"]
        name = Path(self.images.name(number)).name  # a path where folders have files of the same names
        return [self.folder / side / f"{number:03d}_{name}.png" for side in sides]

    @property
    def complete(self) -> bool:
        """Whether every file is there."""
        return all(path.is_file() for number in range(len(self.images)) for path in self._paths(number))

    def build(self, update: Callable[[int, str], None], deadline: float | None = None) -> None:
        """Write the files that are missing.

        Raises:
            SrkdError: the teacher fails; the folder cannot be written.
            OutOfTimeError: the deadline (on `time.monotonic()`'s clock) has passed.
        """
        if self.complete:
            return
        with locked(self.folder):
            for number in range(len(self.images)):
                paths = self._paths(number)
                if not all(path.is_file() for path in paths):
                    if deadline is not None and time.monotonic() > deadline:
                        raise OutOfTimeError(f"stopped at image {number} of {self.spec.name}; run again to continue")
                    for path, pixels in zip(paths, self._sides(number), strict=False):
                        write_image(path, ImageData(np.ascontiguousarray(pixels)))
                update(number + 1, self.spec.name)

    def _sides(self, number: int) -> list[np.ndarray]:
        """LR, the teacher's output, and the ground truth if the image is degraded."""
        image, teacher = self.images.hr(number), self.teacher
        factor = teacher.scale // self.scale
        if not self.spec.degrade:
            lr = _centre(image, self.spec.crop)
            return [lr, shrunk(teacher(np.ascontiguousarray(lr)[None])[0], factor)]
        hr = _centre(image, self.spec.crop * teacher.scale)
        lr = self.levels.apply(hr, teacher.scale, generator(self.seed, _DEGRADE, number))
        return [lr, shrunk(teacher(lr[None])[0], factor), shrunk(hr, factor)]


def _centre(image: np.ndarray, side: int) -> np.ndarray:
    top, left = (max(0, length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]
