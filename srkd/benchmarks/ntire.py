"""The score of NTIRE's challenges on efficient super-resolution: x4, lower is better, the baseline has exp(2) = 7.39.

It rates runtime, multiply-adds ("FLOPs") and parameters; a network below its PSNR on its own images (26.90 dB
on DIV2K_LSDIR_valid) is not ranked. Source: the README files of the organisers' repositories
Amazingren/NTIRE2024_ESR, NTIRE2025_ESR and NTIRE2026_ESR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Costs:
    """Of a network for an input of 256x256: runtime in ms, G multiply-adds, and M parameters."""

    ms: float
    multiply_adds: float
    parameters: float


@dataclass(frozen=True)
class Challenge:
    """A year's baseline, its costs on the organisers' GPU, and the weights of runtime, multiply-adds and parameters.

    `network` is the baseline as one of srkd's networks, if it is one.
    """

    baseline: str
    costs: Costs
    weights: tuple[float, float, float]
    network: Mapping[str, Any] | None = None


CHALLENGES = {
    2024: Challenge("RLFN", Costs(13.54, 19.67, 0.317), (0.7, 0.15, 0.15)),
    2025: Challenge("EFDN", Costs(16.69, 16.70, 0.276), (0.7, 0.15, 0.15)),
    2026: Challenge(
        "SPAN", Costs(7.74, 9.83, 0.151), (0.8, 0.1, 0.1), {"type": "SPAN", "num_feat": 28, "num_block": 6}
    ),
}


def score(costs: Costs, challenge: Challenge, baseline: Costs | None = None) -> float:
    """The weighted sum of exp(2 cost / the baseline's cost) over the three costs.

    Args:
        baseline: the baseline's costs where `costs` were measured; by default the organisers'.
    """
    reference = baseline or challenge.costs
    ratios = (
        costs.ms / reference.ms,
        costs.multiply_adds / reference.multiply_adds,
        costs.parameters / reference.parameters,
    )
    return sum(weight * math.exp(2 * ratio) for weight, ratio in zip(challenge.weights, ratios, strict=True))
