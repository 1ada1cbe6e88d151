"""Tracking of the best validation of a run, for the best checkpoint and early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pydantic

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

    @property
    def exhausted(self) -> bool:
        """Whether training should stop."""
        return 0 < self.patience <= self.since
