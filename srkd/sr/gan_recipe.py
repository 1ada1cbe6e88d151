"""The recipe of `sr.gan`: BasicSR's words for SRGAN, and `mutual` for a cohort of pairs."""

from __future__ import annotations

from typing import Any, Literal

import pydantic

from srkd.errors import SrkdError
from srkd.sr import recipe as sr
from srkd.training.recipe import Optimiser, Section


class Path(sr.Path):
    """Where weights come from; in a cohort every pair starts from them."""

    pretrain_network_d: str | None = pydantic.Field(None, description="checkpoint that the discriminator starts from")
    param_key_d: str | None = pydantic.Field(None, description="which weights of a .pth, as param_key_g")
    strict_load_d: bool = pydantic.Field(True, description="whether every weight must be in it")


class Peer(Section):
    """What a further pair of a cohort has of its own: options over the recipe's networks, such as `num_feat`."""

    network_g: dict[str, Any] = pydantic.Field({}, description="over network_g")
    network_d: dict[str, Any] = pydantic.Field({}, description="over network_d")


class Mutual(Section):
    """Several pairs of generator and discriminator that train on the same batches and teach one another."""

    networks: Literal["discriminator", "generator", "both"] = pydantic.Field(
        "discriminator", description="which of a pair teach their peers"
    )
    cohort: int = pydantic.Field(2, description="pairs, at least 2; pair i starts from the initial seed plus i")
    temperature: float = pydantic.Field(1.0, gt=0, description="of the probabilities that vanilla discriminators share")
    weight: float = pydantic.Field(1.0, ge=0, description="of this term beside the adversarial ones")
    peers: list[Peer] = pydantic.Field([], description="of each pair but the first, where they are not all alike")
    at: list[str] = pydantic.Field([], description="modules whose features peers compare, instead of their outputs")

    @pydantic.field_validator("cohort")
    @classmethod
    def _several(cls, cohort: int) -> int:
        if cohort < 2:
            raise ValueError("a cohort needs at least 2 pairs; leave mutual out to train one alone")
        return cohort

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Mutual:
        if self.peers and len(self.peers) != self.cohort - 1:
            raise ValueError(f"peers: a cohort of {self.cohort} has {self.cohort - 1} beside the first pair")
        if self.at and self.networks == "both":
            raise ValueError("at: names modules of one kind of network; set networks to generator or discriminator")
        return self

    def taps(self, networks: str) -> list[str]:
        """Modules of this kind of network whose features are compared."""
        return self.at if self.among(networks) else []

    def among(self, networks: str) -> bool:
        """Whether those of this kind (`generator`, `discriminator`) teach one another."""
        return self.weight > 0 and self.networks in (networks, "both")


class DistillD(Section):
    """A trained discriminator teaches the one that trains, on real patches and on the fakes that it is shown."""

    temperature: float = pydantic.Field(1.0, gt=0, description="of the probabilities, with vanilla")
    weight: float = pydantic.Field(1.0, ge=0, description="of this term beside the adversarial ones")


class GANTrain(sr.SRTrain):
    """`train:` of a GAN recipe. Without `gan_opt` only the generator trains, as in a first stage."""

    optim_d: Optimiser = Optimiser()
    perceptual_opt: dict[str, Any] | None = pydantic.Field(None, description="PerceptualLoss; vgg_path says which VGG")
    gan_opt: dict[str, Any] | None = pydantic.Field(None, description="GANLoss, in BasicSR's words")
    distill_d: DistillD | None = None
    net_d_iters: int = pydantic.Field(1, gt=0, description="discriminator steps for each of the generator")
    net_d_init_iters: int = pydantic.Field(0, ge=0, description="first steps, in which the generator stands still")

    def all_losses(self) -> list[dict[str, Any]]:
        """The generator's loss terms other than the adversarial one."""
        if self.perceptual_opt is None:
            return super().all_losses()
        # Where BasicSR's recipe has a perceptual loss, no pixel loss is implied.
        terms = super().all_losses() if self.losses or self.pixel_opt or self.fft_opt else []
        return [*terms, _perceptual(self.perceptual_opt)]


def _perceptual(spec: dict[str, Any]) -> dict[str, Any]:
    """BasicSR's `perceptual_opt` as a loss term."""
    if spec.get("style_weight"):
        raise SrkdError("train.perceptual_opt.style_weight: srkd has no style loss; leave it at 0")
    if spec.get("vgg_type", "vgg19") != "vgg19" and "vgg_path" not in spec:
        raise SrkdError(f"train.perceptual_opt.vgg_type: give vgg_path, the weights of {spec['vgg_type']}")
    options = {k: v for k, v in spec.items() if k not in ("perceptual_weight", "style_weight", "vgg_type")}
    weight = spec.get("perceptual_weight", 1.0)
    return {"type": "PerceptualLoss", **options, "target": "gt", "weight": weight}


class GANRecipe(sr.SRRecipe):
    """The top of a GAN recipe."""

    free = sr.SRRecipe.free | {"network_d_teacher", "init_seed"}
    task: str = pydantic.Field("sr.gan", description="sr.gan")
    network_d: dict[str, Any] | None = pydantic.Field(None, description="{type, options} of the discriminator")
    network_d_teacher: dict[str, Any] | None = pydantic.Field(None, description="{file: net_d of a finished run}")
    path: Path = Path()
    train: GANTrain
    mutual: Mutual | None = None
    init_seed: int | None = pydantic.Field(
        None, ge=0, description="seed of the initial weights, where it is not manual_seed, which the batches follow"
    )


class ESRGANRecipe(GANRecipe):
    """The top of a recipe whose `model_type` is BasicSR's ESRGANModel."""

    model_type: Literal["ESRGANModel"] = "ESRGANModel"

    @pydantic.model_validator(mode="after")
    def _relativistic(self) -> ESRGANRecipe:
        if self.train.gan_opt is not None:
            self.train.gan_opt = {**self.train.gan_opt, "relativistic": True}
        return self
