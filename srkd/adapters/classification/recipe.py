"""A recipe for image classification."""

from __future__ import annotations

from typing import Literal

import pydantic

from srkd.adapters.base import AdapterRecipe
from srkd.training.recipe import Section


class ClassificationData(Section):
    """`data:` images and their augmentation."""

    free = frozenset({"root"})  # the fingerprint identifies the content
    root: str = pydantic.Field(description="a folder or tar archive: CIFAR, (Fashion-)MNIST, or <split>/<class>/*")
    train: int | None = pydantic.Field(None, gt=0, description="number of training images; all by default")
    held_out: int = pydantic.Field(0, ge=0, description="training images set aside to fit the temperature")
    scored: Literal["test", "held_out"] = pydantic.Field(
        "test", description="held_out: score the images set aside, to choose settings; no temperature is fitted then"
    )
    augment: bool = pydantic.Field(True, description="pad by 4 pixels, random crop, random horizontal flip")
    mixup: float = pydantic.Field(0.0, ge=0, description="alpha of mixup; 0: off")

    @pydantic.model_validator(mode="after")
    def _scored(self) -> ClassificationData:
        if self.scored == "held_out" and not self.held_out:
            raise ValueError("scored: held_out needs held_out above 0")
        return self


class ClassificationRecipe(AdapterRecipe):
    """Top level of the recipe."""

    data: ClassificationData
    scale_teacher: bool = pydantic.Field(
        False, description="divide the teacher's logits by the temperature that its run fitted on held-out images"
    )
