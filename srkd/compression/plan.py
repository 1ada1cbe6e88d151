"""How the time is shared: the teacher's answers, rounds in which half of the candidates drop out, student, control."""

from __future__ import annotations

import math
from dataclasses import dataclass

from srkd.compression.limits import Limits
from srkd.errors import SrkdError


@dataclass(frozen=True)
class Round:
    """A round of successive halving: how many candidates train, and how many seconds each."""

    candidates: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """Rounds, and seconds of the student and of its control (0 for none)."""

    rounds: list[Round]
    student: float
    control: float


def closing(total: float, teacher: float, effort: Limits) -> float:
    """Seconds kept for what follows training: export, measurements, report, the teacher's own part (`teacher`)."""
    return effort.closing + effort.closing_share * total + teacher


def check(left: float, control: bool, effort: Limits) -> None:
    """Raise SrkdError where the seconds that are left for training are too few for a student (and its control)."""
    needed = effort.final * (2 if control else 1)
    if left < needed:
        more = math.ceil((needed - left) / 60)
        raise SrkdError(
            f"too short a time: {max(left, 0):.0f} s would be left to train in, and a student"
            f"{' and its control take' if control else ' takes'} {needed:.0f} s at least; give {more} min more --time"
        )


def share(left: float, fitting: int, control: bool, effort: Limits) -> Plan:
    """Share the seconds that are left for training.

    As many candidates as can each have `effort.shortest`; each round half as many for twice as long, so that every
    round takes equally long. The control has the student's own steps. Rather no rounds than a student of less than
    `effort.final`.
    """
    parts = 2 if control else 1
    rounds = _rounds(left * (effort.controlled if control else effort.halving), fitting, effort)
    trained = (left - sum(r.candidates * r.seconds for r in rounds)) / parts
    if trained < effort.final:
        rounds, trained = [], max(left / parts, effort.final)
    return Plan(rounds, trained, trained if control else 0.0)


def _rounds(seconds: float, fitting: int, effort: Limits) -> list[Round]:
    count = min(fitting, effort.candidates)
    while count > 1:
        sizes = [count]
        while sizes[-1] > 3:
            sizes.append(math.ceil(sizes[-1] / 2))
        if seconds / len(sizes) / count >= effort.shortest:
            return [Round(size, seconds / len(sizes) / size) for size in sizes]
        count -= 1
    return []


def clock(seconds: float) -> str:
    """A time in words: 45 s, 12 min, 1 h 5 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
