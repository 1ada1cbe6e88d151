"""Teachers: whatever answers a batch with an output, features, or both. Never trained, never given a gradient."""

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
    """What a network, or whatever stands for it, says to a batch: its output and the features at its taps."""

    output: Tensor | None = None
    features: dict[str, Tensor] = field(default_factory=dict)


def ask(network: nn.Module, batch: Mapping[str, Any], input: str) -> Any:
    """A network's output for what the batch holds under `input`, or for the whole batch where it is `privileged`.

    A network with a method of that name, which takes the batch, sees more in training than it is given afterwards.
    """
    privileged = getattr(network, "privileged", None)
    return network(batch[input]) if privileged is None else privileged(batch)


class Teacher(Protocol):
    """Answers a batch, a mapping of the names that the task's data have (`lr`, `hr`, `index`, ...)."""

    def __call__(self, batch: Mapping[str, Any]) -> Prediction: ...


class LiveTeacher:
    """A network run on every batch, in eval mode and without gradients.

    Args:
        network: any module; put in eval mode, its parameters no longer require gradients.
        taps: module paths or globs whose features are wanted.
        input: the name in the batch of what the network takes.
    """

    def __init__(self, network: nn.Module, taps: Sequence[str] = (), input: str = "lr") -> None:
        self.network = network.eval().requires_grad_(False)
        self.taps = Taps(network, taps)
        self.input = input

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any]) -> Prediction:
        with self.taps:
            output = ask(self.network, batch, self.input)
        # What is no tensor is nothing to compare with; features may be wanted all the same.
        return Prediction(output if isinstance(output, Tensor) else None, self.taps.features)


class MeanOfTeachers:
    """Several teachers as one: the mean of their outputs. Features have no common meaning and are not answered."""

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        if not teachers:
            raise SrkdError("a mean of teachers needs at least one teacher")
        self.teachers = list(teachers)

    def __call__(self, batch: Mapping[str, Any]) -> Prediction:
        outputs = [prediction.output for prediction in (teacher(batch) for teacher in self.teachers)]
        if any(output is None for output in outputs):
            raise SrkdError("a mean of teachers needs every teacher to answer with an output")
        return Prediction(torch.stack([output for output in outputs if output is not None]).mean(0))


class CachedTeacher:
    """A teacher that answered beforehand: its answers arrive inside the batch, beside the input they belong to.

    The data pipeline puts the output under `teacher_output` and each tap's features under `teacher_features`.
    """

    def __call__(self, batch: Mapping[str, Any]) -> Prediction:
        return Prediction(batch.get("teacher_output"), dict(batch.get("teacher_features", {})))
