"""The recipe of the task `imitation`: a GAN recipe with a bank, whose losses compare with the teacher by default."""

from __future__ import annotations

from typing import Any

import pydantic

from srkd.sr.degradation_options import DegradationOptions, DegradedTrainSet
from srkd.sr.gan_recipe import GANRecipe, GANTrain
from srkd.sr.recipe import Datasets, ValSet
from srkd.training.recipe import Section, Seed


class BankOptions(Section):
    """The bank: degraded patches with the teacher's outputs, computed before training and kept in the cache folder."""

    free = frozenset({"max_bytes", "dir"})
    patches: int = pydantic.Field(20000, gt=0, description="number of patches; a larger bank extends a smaller one")
    lr_size: int = pydantic.Field(64, gt=0, description="side of its LR patches in pixels")
    seed: Seed = pydantic.Field(0, description="of its patches, independent of manual_seed")
    max_bytes: float = pydantic.Field(8e9, gt=0, description="limit on the size of the bank")
    dir: str | None = pydantic.Field(None, description="folder of banks; default: the user's cache folder")


class ImitationTrainSet(DegradedTrainSet):
    """Photographs of any kind: their degraded versions are the student's and the teacher's input."""

    clean_prob: float = pydantic.Field(0.1, description="share of images that are only downscaled (MATLAB's bicubic)")
    slight_prob: float = pydantic.Field(
        0.4, description="share of images with a slight blur, slight noise and one JPEG of quality 60 to 98"
    )


class ImitationValSet(ValSet):
    """Held-out images. The student's output is compared with the teacher's, not with the images."""

    degrade: bool = pydantic.Field(
        True, description="degrade and downscale the images as for training; false: they are the input as they are"
    )
    crop: int = pydantic.Field(
        128, gt=0, description="largest side of an input in pixels; larger ones are cropped to their centre"
    )


class ImitationDatasets(Datasets):
    """`train`, and any number of held-out sets: `val`, `val_2`, ..."""

    extra_section = ImitationValSet
    __pydantic_extra__: dict[str, ImitationValSet] = pydantic.Field(init=False)  # type: ignore[assignment]
    train: ImitationTrainSet

    def held_out(self) -> dict[str, ImitationValSet]:
        """The held-out sets by their key."""
        return dict(self.__pydantic_extra__ or {})


class ImitationTrain(GANTrain):
    """`train:` of an imitation. With `gan_opt`, the teacher's outputs are the discriminator's real images."""

    def all_losses(self) -> list[dict[str, Any]]:
        """The loss terms; those that do not name their target compare with the teacher."""
        if not (self.losses or self.pixel_opt or self.fft_opt or self.perceptual_opt):
            return [{"type": "L1Loss", "target": "teacher", "weight": 1.0}]
        terms = [{"target": "teacher", **spec} for spec in self.losses]
        return self.model_copy(update={"losses": terms})._plain_losses()

    def _plain_losses(self) -> list[dict[str, Any]]:
        return super().all_losses()


class ImitationRecipe(DegradationOptions, GANRecipe):
    """Top-level keys of an imitation recipe. `network_g_teacher` may be any ONNX or ncnn file."""

    free = GANRecipe.free
    ignored = GANRecipe.ignored
    instead = GANRecipe.instead
    ignored_values = GANRecipe.ignored_values
    task: str = pydantic.Field("imitation", description="imitation")
    datasets: ImitationDatasets
    train: ImitationTrain
    bank: BankOptions = BankOptions()
