"""Training on images that are degraded in every step: BasicSR's RealESRNetModel and RealESRGANModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from srkd.data.degradations import sharpened
from srkd.data.degraded import CropPlan, DegradedPatches, DegradedSource
from srkd.data.patches import BatchSource, PatchSource
from srkd.distill.teachers import CachedTeacher, Teacher
from srkd.errors import SrkdError
from srkd.sr import gan
from srkd.sr.degradation_options import levels
from srkd.sr.real_esrgan_recipe import RealESRGANRecipe
from srkd.sr.teachers import Teachers
from srkd.training import task as training_task


class Task(gan.Task):
    """The task `sr.real_esrgan`: as `sr.gan`, with LR patches by Real-ESRGAN's second-order degradation.

    Real-ESRGAN (Wang et al., ICCVW 2021, arXiv:2107.10833) degrades a sharpened image and compares the output with the
    sharpened image, but shows the discriminator the original. Unlike there, every patch of a batch has degradations of
    its own, so that no queue of patches is needed, and images smaller than a patch are not padded.

    With `high_order_degradation: false` nothing is degraded: LR is read from `dataroot_lq`.
    """

    recipe_type = RealESRGANRecipe
    recipe: RealESRGANRecipe

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> type[training_task.Task]:
        return cls

    def read_images(self) -> None:
        super().read_images()
        if unscored := self.recipe.datasets.unscored:
            self.notices.append(f"validation sets without ground truth are not scored: {', '.join(unscored)}")
        self.source = self._source()

    def _source(self) -> BatchSource:
        recipe, spec = self.recipe, self.recipe.datasets.train
        sharp = recipe.sharpens_target or recipe.sharpens_real
        if not recipe.high_order_degradation:
            source = PatchSource(self.usable, self.patches)
            return SharpenedSource(source) if sharp else source
        side = spec.gt_size // recipe.scale
        degraded, seed = levels(recipe, spec), recipe.manual_seed
        plan = CropPlan(side, recipe.scale, degraded, spec.sampling, spec.use_hflip, spec.use_rot, seed)
        patches = DegradedPatches(self.usable, plan, recipe.sharpens_input)
        return DegradedSource(patches, self.patches.batch, sharp)

    def batch(self, number: int) -> dict[str, Any]:
        """A batch with `hr`, the target of the losses, `original`, not sharpened, and `real`, the discriminator's."""
        batch, recipe = super().batch(number), self.recipe
        original, sharp = batch["hr"], batch.pop("sharp", None)
        target = sharp if recipe.sharpens_target else original
        return {**batch, "hr": target, "original": original, "real": sharp if recipe.sharpens_real else original}

    def _with_source(self, teachers: Teachers) -> Teacher:
        if self.recipe.cache.kind in ("outputs", "bank"):
            raise SrkdError(
                f"cache.kind {self.recipe.cache.kind}: every patch is degraded anew, so a teacher runs in every step; "
                "use live, or task: imitation"
            )
        self.teachers = teachers
        return teachers.live(self.objective.teacher_taps) or CachedTeacher()

    def real_images(self, batch: Mapping[str, Any]) -> Tensor:
        real: Tensor = batch["real"]
        return real


class SharpenedSource:
    """Another source's batches with `sharp`, the sharpened `hr`, in addition."""

    def __init__(self, source: BatchSource) -> None:
        self.source = source

    def draw(self, number: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        batch = self.source.draw(number, rank, world)
        return {**batch, "sharp": np.stack([sharpened(image) for image in batch["hr"]])}
