"""The recipe of `sr.real_esrgan`, in the words of Real-ESRGAN's and BasicSR's option files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from srkd.sr.degradation_options import DegradationOptions, DegradedTrainSet
from srkd.sr.gan_recipe import GANRecipe
from srkd.sr.recipe import Datasets


class DegradedDatasets(Datasets):
    """`train`, and any number of validation sets; those without ground truth are not scored."""

    train: DegradedTrainSet
    unscored: list[str] = pydantic.Field([], description="validation sets that were left out, for lack of ground truth")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _leave_out_unpaired_sets(cls, data: Any) -> Any:
        """Leave out sets that have inputs only: `SingleImageDataset`, with which BasicSR just writes images."""
        if not isinstance(data, Mapping):
            return data
        unpaired = [
            key
            for key, value in data.items()
            if key != "train" and isinstance(value, Mapping) and "dataroot_lq" in value and "dataroot_gt" not in value
        ]
        kept = {key: value for key, value in data.items() if key not in unpaired}
        names = [str(data[key].get("name", key)) for key in unpaired]
        return {**kept, "unscored": [*data.get("unscored", []), *names]}


class RealESRGANRecipe(DegradationOptions, GANRecipe):
    """Top-level keys of a recipe that degrades its images in every step. Without `network_d` and `gan_opt` it trains
    RealESRNet."""

    free = GANRecipe.free
    ignored = (GANRecipe.ignored | {"queue_size"}) - {"model_type"}
    instead = GANRecipe.instead
    ignored_values = GANRecipe.ignored_values
    task: str = pydantic.Field("sr.real_esrgan", description="sr.real_esrgan")
    model_type: Literal["RealESRGANModel", "RealESRNetModel"] = pydantic.Field(
        "RealESRGANModel", description="which of the keys ..._usm apply"
    )
    datasets: DegradedDatasets
    gt_size: int | None = pydantic.Field(None, gt=0, description="takes precedence over datasets.train.gt_size")
    gt_usm: bool = pydantic.Field(True, description="RealESRNetModel: sharpen the ground truth before all else")
    l1_gt_usm: bool = pydantic.Field(True, description="RealESRGANModel: the losses compare with a sharpened image")
    percep_gt_usm: bool = pydantic.Field(True, description="the same for the perceptual loss; must equal l1_gt_usm")
    gan_gt_usm: bool = pydantic.Field(False, description="the discriminator's real images are sharpened")

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> RealESRGANRecipe:
        if self.model_type == "RealESRGANModel" and self.l1_gt_usm != self.percep_gt_usm:
            raise ValueError("l1_gt_usm and percep_gt_usm: all losses have one target here; make them equal")
        if self.high_order_degradation and self.datasets.train.dataroot_lq is not None:
            raise ValueError(
                "datasets.train.dataroot_lq: LR images are made by degradation; remove it, or set "
                "high_order_degradation to false"
            )
        if self.gt_size is not None:
            self.datasets.train.gt_size = self.gt_size
        return self

    @property
    def sharpens_input(self) -> bool:
        """Whether the images are sharpened before they are degraded."""
        return self.gt_usm if self.model_type == "RealESRNetModel" else True

    @property
    def sharpens_target(self) -> bool:
        """Whether the losses compare with sharpened images."""
        return self.gt_usm if self.model_type == "RealESRNetModel" else self.l1_gt_usm

    @property
    def sharpens_real(self) -> bool:
        """Whether the discriminator's real images are sharpened."""
        return self.gan_gt_usm and self.train.gan_opt is not None
