"""The recipe of `sr.gan`: BasicSR's keys for SRGAN, and `mutual` for a cohort of pairs."""

from __future__ import annotations

from typing import Any, Literal

import pydantic

from srkd.errors import SrkdError
from srkd.sr import recipe as sr
from srkd.training.recipe import Optimiser, Section, Seed


class GANPathOptions(sr.PathOptions):
    """Files of initial weights, which all pairs of a cohort share."""

    pretrain_network_d: str | None = pydantic.Field(
        None, description="checkpoint with the discriminator's initial weights"
    )
    param_key_d: str | None = pydantic.Field(None, description="key of the weights in a .pth, as param_key_g")
    strict_load_d: bool = pydantic.Field(True, description="whether every weight must match; false: load those that do")


class PeerOptions(Section):
    """A further pair of a cohort: its overrides of the recipe's network options, such as `num_feat`."""

    network_g: dict[str, Any] = pydantic.Field({}, description="overrides of network_g")
    network_d: dict[str, Any] = pydantic.Field({}, description="overrides of network_d")


class Mutual(Section):
    """Several pairs of generator and discriminator that train on the same batches and teach one another."""

    networks: Literal["discriminator", "generator", "both"] = pydantic.Field(
        "discriminator", description="which networks of a pair learn from their peers"
    )
    cohort: int = pydantic.Field(2, description="number of pairs, at least 2; pair i has the initial seed plus i")
    temperature: float = pydantic.Field(
        1.0, gt=0, description="of the probabilities compared by vanilla discriminators"
    )
    weight: float = pydantic.Field(1.0, ge=0, description="of this term, relative to the adversarial ones")
    peers: list[PeerOptions] = pydantic.Field(
        [], description="overrides for each pair but the first; default: all pairs are alike"
    )
    at: list[str] = pydantic.Field([], description="modules whose features peers compare, instead of their outputs")

    @pydantic.field_validator("cohort")
    @classmethod
    def _several(cls, cohort: int) -> int:
        if cohort < 2:
            raise ValueError("a cohort needs at least 2 pairs; remove mutual to train a single one")
        return cohort

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Mutual:
        if self.peers and len(self.peers) != self.cohort - 1:
            raise ValueError(f"peers: a cohort of {self.cohort} has {self.cohort - 1} besides the first pair")
        if self.at and self.networks == "both":
            raise ValueError("at: applies to one kind of network; set networks to generator or discriminator")
        return self

    def taps(self, networks: str) -> list[str]:
        """Module paths, in this kind of network, of the features that peers compare."""
        return self.at if self.applies_to(networks) else []

    def applies_to(self, networks: str) -> bool:
        """Whether networks of this kind (`generator`, `discriminator`) learn from one another."""
        return self.weight > 0 and self.networks in (networks, "both")


class DistillD(Section):
    """Distillation from a trained discriminator, on real patches and generated ones."""

    temperature: float = pydantic.Field(1.0, gt=0, description="of the probabilities, with vanilla")
    weight: float = pydantic.Field(1.0, ge=0, description="of this term, relative to the adversarial ones")


class GANTrain(sr.SRTrain):
    """`train:` of a GAN recipe. Without `gan_opt` only the generator is trained, as in a first stage."""

    optim_d: Optimiser = Optimiser()
    perceptual_opt: dict[str, Any] | None = pydantic.Field(
        None, description="PerceptualLoss; vgg_path is the VGG's weights"
    )
    gan_opt: dict[str, Any] | None = pydantic.Field(None, description="GANLoss, with BasicSR's options")
    distill_d: DistillD | None = None
    ldl_opt: dict[str, Any] | None = pydantic.Field(
        None, description="the loss ldl, with BasicSR's options; needs ema_decay and a single pair"
    )
    net_d_iters: int = pydantic.Field(1, gt=0, description="discriminator steps per generator step")
    net_d_init_iters: int = pydantic.Field(0, ge=0, description="initial steps without generator updates")

    def all_losses(self) -> list[dict[str, Any]]:
        """The generator's loss terms other than the adversarial one."""
        terms = self._without_ldl()
        return terms if self.ldl_opt is None else [*terms, _ldl(self.ldl_opt)]

    def _without_ldl(self) -> list[dict[str, Any]]:
        if self.perceptual_opt is None:
            return super().all_losses()
        # With a perceptual loss, BasicSR implies no pixel loss.
        terms = super().all_losses() if self.losses or self.pixel_opt or self.fft_opt else []
        return [*terms, _perceptual(self.perceptual_opt)]


def _ldl(spec: dict[str, Any]) -> dict[str, Any]:
    """BasicSR's `ldl_opt` as a loss term."""
    criteria = {"L1Loss": "l1", "MSELoss": "l2"}
    if spec.get("type") not in criteria or set(spec) - {"type", "loss_weight", "reduction"}:
        raise SrkdError(f"train.ldl_opt: must be an L1Loss or MSELoss with loss_weight, got {spec}")
    if spec.get("reduction", "mean") != "mean":
        raise SrkdError("train.ldl_opt.reduction: losses are means; scale the weight instead")
    weight = spec.get("loss_weight", 1.0)
    return {"type": "ldl", "criterion": criteria[spec["type"]], "target": "gt", "weight": weight}


def _perceptual(spec: dict[str, Any]) -> dict[str, Any]:
    """BasicSR's `perceptual_opt` as a loss term."""
    if spec.get("style_weight"):
        raise SrkdError("train.perceptual_opt.style_weight: srkd has no style loss; set it to 0")
    if spec.get("vgg_type", "vgg19") != "vgg19" and "vgg_path" not in spec:
        raise SrkdError(f"train.perceptual_opt.vgg_type: give vgg_path, the weights of {spec['vgg_type']}")
    options = {k: v for k, v in spec.items() if k not in ("perceptual_weight", "style_weight", "vgg_type")}
    weight = spec.get("perceptual_weight", 1.0)
    return {"type": "PerceptualLoss", **options, "target": "gt", "weight": weight}


class GANRecipe(sr.SRRecipe):
    """Top-level keys of a GAN recipe."""

    free = sr.SRRecipe.free | {"network_d_teacher", "init_seed"}
    task: str = pydantic.Field("sr.gan", description="sr.gan")
    network_d: dict[str, Any] | None = pydantic.Field(None, description="{type, options} of the discriminator")
    network_d_teacher: dict[str, Any] | None = pydantic.Field(
        None, description="{file: a net_d checkpoint of a finished run}"
    )
    path: GANPathOptions = GANPathOptions()
    train: GANTrain
    mutual: Mutual | None = None
    init_seed: Seed | None = pydantic.Field(
        None, description="seed of the initial weights; default: manual_seed, which also determines the batches"
    )

    @pydantic.model_validator(mode="after")
    def _real_images(self) -> GANRecipe:
        if self.datasets.train.zoomed and self.train.gan_opt is not None:
            raise ValueError("datasets.train.zoomed: the targets are a teacher's outputs, not real images; remove it")
        return self


class ESRGANRecipe(GANRecipe):
    """Top-level keys of a recipe whose `model_type` is BasicSR's ESRGANModel."""

    model_type: Literal["ESRGANModel"] = "ESRGANModel"

    @pydantic.model_validator(mode="after")
    def _relativistic(self) -> ESRGANRecipe:
        if self.train.gan_opt is not None:
            self.train.gan_opt = {**self.train.gan_opt, "relativistic": True}
        return self
