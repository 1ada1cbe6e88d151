"""The best validation of a run so far, and whether it is too long ago."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pydantic

from srkd.training.recipe import Section


class Judging(Section):
    """How validations decide which checkpoint is the best, and when training stops early."""

    best: str | None = pydantic.Field(
        None, description="score by which net_..._best is kept, e.g. psnr_Set5; the first where it is not given"
    )
    patience: int = pydantic.Field(
        0, ge=0, description="validations in a row without a better score after which training stops; 0: never"
    )


@dataclass
class Best:
    """The best value of one score so far.

    Args:
        score: its name in a validation's metrics.
        higher: whether higher is better.
        patience: validations in a row without a better one after which `exhausted` holds; 0: never.
    """

    score: str
    higher: bool = True
    patience: int = 0
    value: float | None = field(default=None, init=False)
    step: int = field(default=0, init=False)
    since: int = field(default=0, init=False)

    def see(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Take in a validation; returns whether it is the best so far. One that does not have the score counts for
        nothing, and NaN is never better."""
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
        return 0 < self.patience <= self.since
