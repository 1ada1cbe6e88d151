"""How the time is divided between the teacher's outputs, the rounds of successive halving, student and control."""

from __future__ import annotations

import math
from dataclasses import dataclass

from srkd.compression.settings import Settings
from srkd.errors import SrkdError


@dataclass(frozen=True)
class Round:
    """A round of successive halving: number of candidates and seconds of training for each."""

    candidates: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """The rounds, and seconds of training for the student and its control (0 without control)."""

    rounds: list[Round]
    student: float
    control: float


def closing(total: float, teacher: float, settings: Settings) -> float:
    """Seconds reserved after training for export, measurements, report and the teacher's scores (`teacher`)."""
    return settings.closing + settings.closing_share * total + teacher


def check(left: float, control: bool, settings: Settings) -> None:
    """Raise SrkdError if `left` seconds are too few to train a student (and its control)."""
    needed = settings.final * (2 if control else 1)
    if left < needed:
        more = math.ceil((needed - left) / 60)
        raise SrkdError(
            f"--time is too short: {max(left, 0):.0f} s are left for training, and a student"
            f"{' and its control take' if control else ' takes'} at least {needed:.0f} s; add {more} min"
        )


def share(left: float, fitting: int, control: bool, settings: Settings) -> Plan:
    """Divide the `left` seconds of training time.

    The first round has as many candidates as can each train for `settings.shortest`. Each further round has half as
    many for twice as long. The control trains for as many steps as the student. If the student would train for less
    than `settings.final`, there are no rounds.

    Args:
        fitting: number of candidates that fit the budget.
    """
    parts = 2 if control else 1
    rounds = _rounds(
        left * (settings.halving_share_with_control if control else settings.halving_share), fitting, settings
    )
    student = (left - sum(r.candidates * r.seconds for r in rounds)) / parts
    if student < settings.final:
        rounds, student = [], max(left / parts, settings.final)
    return Plan(rounds, student, student if control else 0.0)


def _rounds(seconds: float, fitting: int, settings: Settings) -> list[Round]:
    count = min(fitting, settings.candidates)
    while count > 1:
        sizes = [count]
        while sizes[-1] > 3:
            sizes.append(math.ceil(sizes[-1] / 2))
        if seconds / len(sizes) / count >= settings.shortest:
            return [Round(size, seconds / len(sizes) / size) for size in sizes]
        count -= 1
    return []


def clock(seconds: float) -> str:
    """A duration as text: 45 s, 12 min, 1 h 5 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
