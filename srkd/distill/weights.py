"""Weights of loss terms: a number, a schedule over the steps, or a share of the task's gradient."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from srkd.errors import SrkdError, unknown


@dataclass(frozen=True)
class Weight:
    """A weight that is `first` until step `start`, `last` from step `end` on, and linearly interpolated between."""

    first: float
    last: float
    start: int = 0
    end: int = 0

    @classmethod
    def parse(cls, given: Any) -> Weight:
        """Parse a number >= 0, or `{from, to, start, end}`: two numbers >= 0 and two steps, `start` 0 by default.

        Raises:
            SrkdError: it is neither.
        """
        if not isinstance(given, Mapping):
            value = _number(given, "weight")
            return cls(value, value)
        known = ("from", "to", "start", "end")
        for key in given:
            if key not in known:
                raise unknown("key of a weight's schedule", str(key), known)
        missing = [key for key in ("from", "to", "end") if key not in given]
        if missing:
            raise SrkdError(f"weight: a schedule needs from, to and end; {', '.join(missing)} is missing")
        start, end = given.get("start", 0), given["end"]
        if not all(type(step) is int for step in (start, end)) or not 0 <= start < end:
            raise SrkdError(f"weight: start and end must be steps with 0 <= start < end, got {start!r} and {end!r}")
        return cls(_number(given["from"], "weight.from"), _number(given["to"], "weight.to"), start, end)

    def at(self, step: int) -> float:
        """The weight at step `step`, counted from 0."""
        if step <= self.start:
            return self.first
        done = min((step - self.start) / max(self.end - self.start, 1), 1.0)
        return self.first + (self.last - self.first) * done

    @property
    def ever(self) -> bool:
        """Whether the weight is above 0 at any step."""
        return bool(self.first or self.last)


@dataclass(frozen=True)
class Balance:
    """Keeps a term's gradient norm over the student's parameters at `share` of the task terms'.

    Measured every `every` steps; the new scale is the mean of the measured and the previous one.
    """

    share: float
    every: int = 100

    @classmethod
    def parse(cls, given: Any) -> Balance:
        """Parse `{share, every}`.

        Raises:
            SrkdError: not a mapping, a share that is not above 0, or `every` that is not a positive integer.
        """
        if not isinstance(given, Mapping) or "share" not in given:
            raise SrkdError(f"balance must be {{share: ...}}, e.g. 0.3 of the task's gradient norm, got {given!r}")
        for key in given:
            if key not in ("share", "every"):
                raise unknown("key of balance", str(key), ("share", "every"))
        share, every = _number(given["share"], "balance.share"), given.get("every", 100)
        if not share:
            raise SrkdError("balance.share must be above 0")
        if type(every) is not int or every < 1:
            raise SrkdError(f"balance.every must be a number of steps, got {every!r}")
        return cls(share, every)


def _number(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= sys.float_info.max:
        raise SrkdError(f"{name} must be a finite number >= 0, got {value!r}")
    return float(value)
