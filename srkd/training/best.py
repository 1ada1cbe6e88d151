"""Tracking of the best validation of a run, for the best checkpoint and early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pydantic

from srkd.errors import SrkdError
from srkd.training.recipe import Section


class BestOptions(Section):
    """Keys that select the best checkpoint and control early stopping."""

    best: str | None = pydantic.Field(
        None, description="score that selects net_..._best, e.g. psnr_Set5; default: the first score"
    )
    patience: int = pydantic.Field(
        0, ge=0, description="consecutive validations without improvement after which training stops; 0: never"
    )


@dataclass
class Best:
    """The best value of one score so far.

    Args:
        score: its name in a validation's metrics.
        higher: whether higher is better.
        patience: consecutive validations without improvement after which `exhausted` is True; 0: never.
    """

    score: str
    higher: bool = True
    patience: int = 0
    value: float | None = field(default=None, init=False)
    step: int = field(default=0, init=False)
    since: int = field(default=0, init=False)

    def update(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Add a validation; returns whether it is the best so far. Metrics without the score are ignored, and NaN is
        never better."""
        value = metrics.get(self.score)
        if value is None:
            return False
        known = self.value
        better = value == value and (known is None or (value > known if self.higher else value < known))
        self.since = 0 if better else self.since + 1
        if better:
            self.value, self.step = value, step
        return better

    def restore(self, recorded: Mapping[int, Mapping[str, float]], path: Path) -> str | None:
        """Add the validations of a resumed run, by step; the best is the one whose networks were kept in `path`. By
        another score, others may have been better; after an interruption, the networks may be of a later step.

        Returns:
            A notice for the user if another validation was better, or None.
        """
        for step, metrics in recorded.items():
            self.update(step, metrics)
        better = self.step
        if self.value is None or (kept := _step_of(path)) == better:
            return None
        value = recorded.get(kept, {}).get(self.score)
        self.step, self.value = kept, None if value != value else value
        origin = "the next validation" if self.value is None else f"step {kept}"
        return f"the networks of step {better}, best by {self.score}, were not kept; {origin} counts as the best"

    @property
    def exhausted(self) -> bool:
        """Whether training should stop."""
        return 0 < self.patience <= self.since


def _step_of(path: Path) -> int:
    """The step of the networks kept as the best; 0 if they cannot be read."""
    from srkd.training.checkpoint import load_weights  # imports torch, which reading a recipe does not need

    try:
        return int(load_weights(path)[1].get("step", 0))
    except SrkdError:
        return 0
