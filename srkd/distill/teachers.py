"""Teachers: sources of reference outputs and features for a batch. They are not trained and get no gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from srkd.distill.taps import Taps
from srkd.errors import SrkdError


@dataclass
class Prediction:
    """A network's or a teacher's result for a batch: its output and the features at its taps."""

    output: Tensor | None = None
    features: dict[str, Tensor] = field(default_factory=dict)


def run_network(network: nn.Module, batch: Mapping[str, Any], input: str) -> Any:
    """The network's output for `batch[input]`, or that of its method `privileged(batch)` if it has one.

    `privileged` gives a network access, in training, to inputs that are not available at inference.
    """
    privileged = getattr(network, "privileged", None)
    return network(batch[input]) if privileged is None else privileged(batch)


class Teacher(Protocol):
    """Maps a batch, with the keys of the task's data (`lr`, `hr`, `index`, ...), to a prediction."""

    def __call__(self, batch: Mapping[str, Any]) -> Prediction: ...


class LiveTeacher:
    """A network that runs on every batch, in eval mode and without gradients.

    Args:
        network: any module; switched to eval mode, and its parameters to `requires_grad=False`.
        taps: module paths or globs of the features to collect.
        input: the batch key of the network's input.
    """

    def __init__(self, network: nn.Module, taps: Sequence[str] = (), input: str = "lr") -> None:
        self.network = network.eval().requires_grad_(False)
        self.taps = Taps(network, taps)
        self.input = input

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any]) -> Prediction:
        with self.taps:
            output = run_network(self.network, batch, self.input)
        # Other outputs than a tensor cannot be compared with; the features still can.
        return Prediction(output if isinstance(output, Tensor) else None, self.taps.features)


class MeanOfTeachers:
    """Several teachers as one: the mean of their outputs, without features, which have no common meaning."""

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        if not teachers:
            raise SrkdError("a mean of teachers needs at least one teacher")
        self.teachers = list(teachers)

    def __call__(self, batch: Mapping[str, Any]) -> Prediction:
        outputs = [prediction.output for prediction in (teacher(batch) for teacher in self.teachers)]
        if any(output is None for output in outputs):
            raise SrkdError("a mean of teachers needs an output from every teacher")
        return Prediction(torch.stack([output for output in outputs if output is not None]).mean(0))


class CachedTeacher:
    """A teacher whose predictions were computed beforehand and arrive in the batch.

    The data pipeline puts the output under `teacher_output` and each tap's features under `teacher_features`.
    """

    def __call__(self, batch: Mapping[str, Any]) -> Prediction:
        return Prediction(batch.get("teacher_output"), dict(batch.get("teacher_features", {})))
