"""A recipe for image classification."""

from __future__ import annotations

import pydantic

from srkd.training.distilled import DistilledRecipe
from srkd.training.recipe import Section


class Data(Section):
    """`data:` which images, and how they are shown to the network."""

    free = frozenset({"root"})  # the fingerprint says what was read from there
    root: str = pydantic.Field(description="a folder or tar archive: CIFAR, (Fashion-)MNIST, or <split>/<class>/*")
    train: int | None = pydantic.Field(None, gt=0, description="images to train on; all by default")
    held_out: int = pydantic.Field(0, ge=0, description="training images kept apart, to fit the temperature on")
    augment: bool = pydantic.Field(True, description="a margin of 4, a random cut, a mirror image half of the time")
    mixup: float = pydantic.Field(0.0, ge=0, description="alpha of mixup; 0: off")


class ClassificationRecipe(DistilledRecipe):
    """The top of the recipe."""

    data: Data
    scale_teacher: bool = pydantic.Field(
        False, description="divide the teacher's logits by the temperature that its own run fitted on held-out images"
    )
