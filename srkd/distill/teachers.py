"""Teachers: sources of reference outputs and features for a batch. They are not trained and get no gradient."""

from __future__ import annotations

import math
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
    """Several teachers as one: the weighted mean of their outputs, without features, which have no common meaning.

    Args:
        weights: positive numbers, one per teacher, of which only the ratios matter; by default all are equal.
    """

    def __init__(self, teachers: Sequence[Teacher], weights: Sequence[float] | None = None) -> None:
        if not teachers:
            raise SrkdError("a mean of teachers needs at least one teacher")
        self.teachers = list(teachers)
        weights = [1.0] * len(self.teachers) if weights is None else list(weights)
        self.weights = [weight / sum(weights) for weight in weights]

    def __call__(self, batch: Mapping[str, Any]) -> Prediction:
        total: Tensor | None = None
        for teacher, weight in zip(self.teachers, self.weights, strict=True):
            output = teacher(batch).output
            if output is None:
                raise SrkdError("a mean of teachers needs an output from every teacher")
            if total is not None and output.shape != total.shape:
                shapes = f"{tuple(total.shape)} and {tuple(output.shape)}"
                raise SrkdError(f"a mean of teachers needs outputs of one shape, got {shapes}")
            total = output.float() * weight if total is None else total + output.float() * weight
        return Prediction(total)


class CachedTeacher:
    """A teacher whose predictions were computed beforehand and arrive in the batch.

    The data pipeline puts the output under `output` and each tap's features under `teacher_features`.
    """

    def __init__(self, output: str = "teacher_output") -> None:
        self.output = output

    def __call__(self, batch: Mapping[str, Any]) -> Prediction:
        return Prediction(batch.get(self.output), dict(batch.get("teacher_features", {})))


def parse_teachers(given: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> list[tuple[dict[str, Any], float]]:
    """The teachers of a recipe: one specification or a list of them, each with an optional `weight` in the mean.

    Returns:
        Each teacher's specification without `weight`, and its share of the mean; the shares add up to 1.

    Raises:
        SrkdError: an empty list, or a weight that is not a number above 0.
    """
    if given is None:
        return []
    specs = [given] if isinstance(given, Mapping) else list(given)
    if not specs:
        raise SrkdError("the list of teachers is empty: name at least one, or remove the key")
    weights = [spec.get("weight", 1.0) for spec in specs]
    for number, weight in enumerate(weights, 1):
        if not isinstance(weight, (int, float)) or isinstance(weight, bool) or not 0 < weight < math.inf:
            raise SrkdError(f"weight of teacher {number}: must be a number above 0, got {weight!r}")
    plain = [{key: value for key, value in spec.items() if key != "weight"} for spec in specs]
    return [(spec, weight / sum(weights)) for spec, weight in zip(plain, weights, strict=True)]
