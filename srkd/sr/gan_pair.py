"""One generator with its discriminator, as `srkd.sr.gan` trains them, and what keeps a pair's randomness its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from srkd.distill.objective import Objective
from srkd.distill.taps import Taps
from srkd.errors import SrkdError
from srkd.sr.gan_health import Watch

# Of one batch of images: the logits (N, 1), and what peers compare: them, or features.
Verdict = tuple[Tensor, list[Tensor]]


class Judge(nn.Module):
    """A discriminator over several batches of images at once, so that distributed training sees one forward pass.

    Each batch is normalised by its own statistics, as published.

    Args:
        at: module paths of the features that peers compare; empty: they compare logits.
    """

    def __init__(self, discriminator: nn.Module, at: Sequence[str] = ()) -> None:
        super().__init__()
        self.discriminator, self.taps = discriminator, Taps(discriminator, at)

    def forward(self, batches: Sequence[Tensor]) -> list[Verdict]:
        return [self._verdict(images) for images in batches]

    def _verdict(self, images: Tensor) -> Verdict:
        with self.taps:
            logits = self.discriminator(images).float()
        return logits, compared(self.taps, logits)


def compared(taps: Taps, output: Tensor) -> list[Tensor]:
    """What peers compare of a network's last pass: its features where there are taps, otherwise its output."""
    return [taps.features[name].float() for name in taps.names] or [output]


@dataclass
class Pair:
    """A generator with its objective, and its discriminator where there is one; `step` and `judge` wrap them.

    `meta` describes the generator to its checkpoint, `network_d` is the discriminator's specification.
    """

    suffix: str
    seed: int
    generator: nn.Module
    objective: Objective
    discriminator: nn.Module | None
    watch: Watch
    meta: dict[str, Any]
    network_d: dict[str, Any]
    taps: Taps
    step: Callable[..., tuple[Tensor, Tensor, dict[str, Tensor]]] = field(init=False)
    judge: Callable[[Sequence[Tensor]], list[Verdict]] = field(init=False)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside the block torch's random numbers start from `seed`; after it they go on as if there had been none."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """What passes through the network inside the block leaves no trace in it, such as batch norm's statistics."""
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    yield
    network.load_state_dict(state)


def try_features(networks: Sequence[nn.Module], at: Sequence[str], images: Tensor) -> None:
    """Check that the modules `at` give features of one shape in all networks of a cohort.

    Raises:
        SrkdError: a path that matches nothing, or features that differ in number or shape.
    """
    found = []
    for network in networks:
        with torch.no_grad(), unchanged(network), (taps := Taps(network, at)):
            network(images)
        found.append({name: tuple(taps.features[name].shape) for name in taps.names})
    for other in found[1:]:
        if list(other.values()) != list(found[0].values()):
            raise SrkdError(f"mutual.at: the peers' features differ in shape: {found[0]} and {other}")


def gradient_norm(value: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Norm of the gradient over these parameters; the graph is kept."""
    gradients = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    return torch.stack([g.norm() for g in gradients if g is not None]).norm()
