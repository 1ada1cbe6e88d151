"""Discriminators of a GAN recipe: trainable ones, a trained teacher, and the divergence between discriminators."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srkd import losses, networks
from srkd.errors import SrkdError, one_line_errors
from srkd.sr.gan_pair import state_restored
from srkd.sr.gan_recipe import GANRecipe
from srkd.training.checkpoint import load_into, load_weights


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
    """The recipe's `network_d_teacher`; None if the recipe has none.

    Raises:
        SrkdError: a teacher without distill_d or the reverse; a checkpoint of another kind of network.
    """
    spec = recipe.network_d_teacher
    if (spec is None) != (recipe.train.distill_d is None):
        raise SrkdError("network_d_teacher and train.distill_d must be given together")
    if spec is None:
        return None
    if set(spec) != {"file"}:
        raise SrkdError(f"network_d_teacher: must be {{file: a checkpoint of a run's net_d}}, got {spec}")
    weights, meta = load_weights(Path(str(spec["file"])))
    if not isinstance(meta.get("network"), dict) or "scale" in meta:
        raise SrkdError(f"network_d_teacher: {spec['file']} is not a net_d saved by a run of sr.gan")
    network = networks.build_described(meta["network"], weights, str(spec["file"]))
    load_into(network, weights, str(spec["file"]))
    return network


def check_forward(discriminator: nn.Module, images: Tensor, role: str) -> None:
    """Run a batch (N, 3, H, W) without an update, so that an unsupported image size is found before training.

    Raises:
        SrkdError: the forward pass fails, or its output is not a tensor of finite numbers.
    """
    try:
        with one_line_errors("on a batch of patches"), torch.no_grad(), state_restored(discriminator):
            logits = discriminator(images)
    except SrkdError as error:
        raise SrkdError(f"{role}: {error}") from error
    if not isinstance(logits, Tensor) or not torch.isfinite(logits).all():
        raise SrkdError(f"{role}: its output for a batch of real patches is not a tensor of finite numbers")


def divergence(gan_type: str | None, temperature: float, features: bool = False) -> losses.Loss:
    """Divergence between discriminators: of probabilities for `vanilla` logits, otherwise the squared difference."""
    kind = "bernoulli" if gan_type == "vanilla" and not features else "l2"
    return losses.build("mutual", divergence=kind, temperature=temperature)


def mutual_term(mutual: nn.Module, predictions: list[Tensor], number: int) -> Tensor:
    """The sum of a cohort's divergences, with a gradient only for network `number`, that of its own term.

    The loss is the mean over N networks, so it is multiplied by N; the other predictions are detached.
    """
    own = [z if i == number else z.detach() for i, z in enumerate(predictions)]
    total: Tensor = mutual(own) * len(predictions)
    return total
