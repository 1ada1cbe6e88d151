"""Published results of other networks: `models/published.yml`, the single source of such figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from srkd import resources
from srkd.errors import unknown
from srkd.metrics.registry import joined

SCALES = (2, 3, 4)


@dataclass(frozen=True)
class AtScale:
    """A published network at one scale.

    Args:
        scores: Y-channel scores {set: {"psnr": dB, "ssim": 0..1 if known}}.
        parameters, multiply_adds: its costs, the latter for an output of 1280x720; None if unknown.
    """

    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    parameters: int | None = None
    multiply_adds: float | None = None


@dataclass(frozen=True)
class Published:
    """Results of a network as reported by its authors or in a comparison.

    Args:
        source: where the figures were read.
        reference: the paper, and who trained the network if not its authors.
        protocol: how the protocol differs from `srkd.metrics.scores.Protocol.default`; "" if it does not.
        network: the structure for inference as the spec of one of srkd's networks; None if there is none.
        scales: its results by scale.
    """

    model: str
    source: str
    reference: str = ""
    year: int | None = None
    training: str = "DIV2K"
    protocol: str = ""
    network: Mapping[str, Any] | None = None
    scales: Mapping[int, AtScale] = field(default_factory=dict)

    def at(self, scale: int) -> AtScale:
        """The results at a scale; empty if none are known."""
        return self.scales.get(scale, AtScale())

    def scores(self, scale: int) -> Mapping[str, Mapping[str, float]]:
        """The scores at a scale; {} if none are known."""
        return self.at(scale).scores


@cache
def entries() -> dict[str, Published]:
    """All entries of published.yml by name, in the file's order."""
    text = (resources.folder("models") / "published.yml").read_text(encoding="utf-8")
    return {name: _entry(fields) for name, fields in yaml.safe_load(text).items()}


def _entry(fields: dict[str, Any]) -> Published:
    results = {scale: fields.pop(f"x{scale}") for scale in SCALES if f"x{scale}" in fields}
    return Published(**fields, scales={scale: _at_scale(dict(found)) for scale, found in results.items()})


def _at_scale(found: dict[str, Any]) -> AtScale:
    costs = {key: found.pop(key, None) for key in ("parameters", "multiply_adds")}
    return AtScale(found, **costs)


def entry(name: str) -> Published:
    """One entry.

    Raises:
        SrkdError: no such entry; the nearest is suggested.
    """
    if name not in entries():
        raise unknown("published network", name, list(entries()))
    return entries()[name]


def row(name: str, scale: int) -> dict[str, Any]:
    """One entry as a row of a table: {"model", "parameters" if known, set: "37.50/.9587" or "37.50"}."""
    known = entry(name)
    parameters = known.at(scale).parameters
    return {
        "model": known.model,
        **({"parameters": parameters} if parameters else {}),
        **score_cells(known.scores(scale)),
    }


def score_cells(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """{set: "37.50/.9587"} of scores by metric."""
    return {name: joined(scores) for name, scores in sets.items()}
