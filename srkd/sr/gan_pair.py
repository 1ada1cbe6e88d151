"""A generator with its discriminator, as trained by `srkd.sr.gan`, and helpers to isolate its random numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from srkd.distill.objective import Objective
from srkd.distill.taps import Taps
from srkd.errors import SrkdError
from srkd.sr.gan_health import HealthMonitor

# For one batch of images: the logits (N, 1), and the tensors that peers compare: the logits or features.
DiscriminatorOutput = tuple[Tensor, list[Tensor]]


class MultiBatchDiscriminator(nn.Module):
    """A discriminator for several batches of images in one forward pass, as distributed training requires.

    Batch norm uses the statistics of each batch separately, as published. Without it the batches are joined, so that
    spectral norm is computed once.

    Args:
        at: module paths of the features that peers compare; empty: logits.
    """

    def __init__(self, discriminator: nn.Module, at: Sequence[str] = ()) -> None:
        super().__init__()
        self.discriminator, self.taps = discriminator, Taps(discriminator, at)
        self.separate = any(isinstance(module, _BatchNorm) for module in discriminator.modules())

    def forward(self, batches: Sequence[Tensor]) -> list[DiscriminatorOutput]:
        if self.separate:
            return [self._run(images) for images in batches]
        logits, tensors = self._run(torch.cat(list(batches)))
        sizes = [len(images) for images in batches]
        parts = zip(*(tensor.split(sizes) for tensor in tensors), strict=True)
        return list(zip(logits.split(sizes), map(list, parts), strict=True))

    def _run(self, images: Tensor) -> DiscriminatorOutput:
        with self.taps:
            logits = self.discriminator(images).float()
        return logits, compared_tensors(self.taps, logits)


def compared_tensors(taps: Taps, output: Tensor) -> list[Tensor]:
    """The tensors of a network's last forward pass that peers compare: its features if there are taps, else its
    output."""
    return [taps.features[name].float() for name in taps.names] or [output]


@dataclass
class GANPair:
    """A generator with its objective, and its discriminator if any; Fabric wraps them as `step` and `discriminate`.

    `meta` is the description in the generator's checkpoint, `network_d` the discriminator's specification; `taps` are
    the generator's.
    """

    suffix: str
    seed: int
    generator: nn.Module
    objective: Objective
    discriminator: nn.Module | None
    health: HealthMonitor
    meta: dict[str, Any]
    network_d: dict[str, Any]
    taps: Taps
    step: nn.Module = field(init=False)
    discriminate: nn.Module = field(init=False)
    discriminator_taps: Taps = field(init=False)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random generators inside the block; restore their state after it."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextmanager
def state_restored(network: nn.Module) -> Iterator[None]:
    """Restore the network's state, such as batch norm's statistics, after the block."""
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    yield
    network.load_state_dict(state)


def check_features(taps: Sequence[Taps], images: Tensor) -> None:
    """Check that the tapped features have the same shape in all networks of a cohort.

    This is the taps' first pass, which clones the features. Gradients through a clone are added in another order, so a
    run whose first step after resuming were that pass would not have the bits of an uninterrupted one.

    Raises:
        SrkdError: features differ in number or shape.
    """
    for each in taps:
        with torch.no_grad(), state_restored(each.network), each:
            each.network(images)
    found = [{name: tuple(each.features[name].shape) for name in each.names} for each in taps]
    for other in found[1:]:
        if list(other.values()) != list(found[0].values()):
            raise SrkdError(f"mutual.at: the peers' features differ in shape: {found[0]} and {other}")


def gradient_norm(value: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Norm of the gradient over these parameters; the graph is kept."""
    gradients = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    output: Tensor = torch.stack([g.norm() for g in gradients if g is not None]).norm()
    return output
