"""Discriminators of a GAN recipe: those that train, a trained one that teaches, and how two of them are compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srkd import losses, networks
from srkd.errors import SrkdError
from srkd.sr.gan_pair import unchanged
from srkd.sr.gan_recipe import GANRecipe
from srkd.training.checkpoint import load_into, load_weights
from srkd.training.dry_run import in_words


def build(spec: Mapping[str, Any]) -> nn.Module:
    """A discriminator in training mode, with random weights.

    Raises:
        SrkdError: an unknown network or option.
    """
    try:
        return networks.build(spec).train()
    except SrkdError as error:
        raise SrkdError(f"network_d: {error}") from error


def teacher(recipe: GANRecipe) -> nn.Module | None:
    """The recipe's `network_d_teacher`, frozen and in eval mode; None where nothing is distilled from one.

    Raises:
        SrkdError: a teacher without distill_d or the reverse; a checkpoint that is no discriminator's.
    """
    spec = recipe.network_d_teacher
    if (spec is None) != (recipe.train.distill_d is None):
        raise SrkdError("network_d_teacher and train.distill_d go together: the teacher, and how much it counts")
    if spec is None:
        return None
    if set(spec) != {"file"}:
        raise SrkdError(f"network_d_teacher: must be {{file: a checkpoint of a run's net_d}}, got {spec}")
    weights, meta = load_weights(Path(str(spec["file"])))
    if not isinstance(meta.get("network"), dict) or "scale" in meta:
        raise SrkdError(f"network_d_teacher: {spec['file']} is not the net_d that a run of sr.gan saved")
    network = networks.build_described(meta["network"], weights, str(spec["file"]))
    load_into(network, weights, str(spec["file"]))
    return network.eval().requires_grad_(False)


def attempt(discriminator: nn.Module, images: Tensor, role: str) -> None:
    """One look at a batch (N, 3, H, W) without an update, so that a size it cannot take is found before training.

    Raises:
        SrkdError: it does not take the images, or what it answers is no tensor of finite numbers.
    """
    try:
        with in_words("on a batch of patches"), torch.no_grad(), unchanged(discriminator):
            logits = discriminator(images)
    except SrkdError as error:
        raise SrkdError(f"{role}: {error}") from error
    if not isinstance(logits, Tensor) or not torch.isfinite(logits).all():
        raise SrkdError(f"{role}: its answer to a batch of real patches is not a tensor of finite numbers")


def divergence(gan_type: str | None, temperature: float, features: bool = False) -> losses.Loss:
    """What compares discriminators: probabilities where logits stand for them, otherwise squares."""
    kind = "bernoulli" if gan_type == "vanilla" and not features else "l2"
    return losses.build("mutual", divergence=kind, temperature=temperature)


def among(mutual: nn.Module, predictions: list[Tensor], number: int) -> Tensor:
    """The sum of a cohort's divergences, whose gradient reaches network `number` alone and is that of its own term.

    The loss is the mean over N networks of their terms, so that N times it is their sum; only this one's answer has
    its graph.
    """
    own = [z if i == number else z.detach() for i, z in enumerate(predictions)]
    total: Tensor = mutual(own) * len(predictions)
    return total
