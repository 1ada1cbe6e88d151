"""Published results of other networks: `models/published.yml`, the single source of such figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from srkd import resources
from srkd.errors import unknown
from srkd.metrics.registry import joined


@dataclass(frozen=True)
class Published:
    """Results of a network as reported by its authors or in a comparison.

    `x2`, `x3` and `x4` are Y-channel scores {set: {"psnr": dB, "ssim": 0..1 if known}}; `multiply_adds` are for an
    output of 1280x720. Costs are those of the network for `scale_of_costs`, None if unknown.
    """

    model: str
    source: str
    parameters: int | None = None
    multiply_adds: float | None = None
    scale_of_costs: int = 2
    training: str = "DIV2K"
    x2: dict[str, dict[str, float]] | None = None
    x3: dict[str, dict[str, float]] | None = None
    x4: dict[str, dict[str, float]] | None = None

    def scores(self, scale: int) -> dict[str, dict[str, float]]:
        """The scores at a scale; {} if none are known."""
        return {2: self.x2, 3: self.x3, 4: self.x4}.get(scale) or {}


@cache
def entries() -> dict[str, Published]:
    """All entries of published.yml by name, in the file's order."""
    text = (resources.folder("models") / "published.yml").read_text(encoding="utf-8")
    return {name: Published(**fields) for name, fields in yaml.safe_load(text).items()}


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
    costs = {"parameters": known.parameters} if known.parameters and known.scale_of_costs == scale else {}
    return {"model": known.model, **costs, **score_cells(known.scores(scale))}


def score_cells(sets: dict[str, dict[str, Any]]) -> dict[str, str]:
    """{set: "37.50/.9587"} of scores by metric."""
    return {name: joined(scores) for name, scores in sets.items()}
