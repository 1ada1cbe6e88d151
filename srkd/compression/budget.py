"""Which candidates fit a budget: measured along each line of the ladder, narrow to wide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from srkd.compression.ladder import Candidate, Line
from srkd.compression.request import Budget
from srkd.errors import SrkdError

# Room for what differs from one measurement to the next: times by some per cent, files by what their metadata says.
_ROOM_MS, _ROOM_MB = 0.9, 0.98


@dataclass(frozen=True)
class Cost:
    """What a candidate takes: milliseconds and multiply-adds for the budget's input, megabytes, parameters."""

    ms: float
    mb: float
    parameters: int
    multiply_adds: float


Measured = tuple[Candidate, Cost]


@dataclass
class Found:
    """The widest candidate of each line that fits, and what does not: a row each with `why`."""

    fitting: list[Measured] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    smallest: list[Measured] = field(default_factory=list)


def search(lines: Sequence[Line], measure: Callable[[Candidate], Cost], budget: Budget) -> Found:
    """Measure what it takes to know the widest candidate of each line that fits.

    Args:
        lines: those of one family together, by depth; costs grow along a line and from one to the next.
    """
    found, family, widest = Found(), "", 0
    for line in lines:
        if line[0].family == family and widest < 0:
            continue  # what is deeper does not fit either
        # The depth doubles from one line of a family to the next: about one step of width.
        guess = widest - 1 if line[0].family == family else len(line) // 2
        family = line[0].family
        costs: dict[int, Cost] = {}

        def fits(number: int, line: Line = line, costs: dict[int, Cost] = costs) -> bool:
            costs[number] = measure(line[number])
            return not why_not(costs[number], budget)

        widest = _last(len(line), fits, guess)
        if widest >= 0:
            found.fitting.append((line[widest], costs[widest]))
        else:
            found.smallest.append((line[0], costs[0]))
        if widest + 1 < len(line):
            cost = costs[widest + 1]
            found.refused.append(
                {
                    "candidate": line[widest + 1].label,
                    "ms": round(cost.ms, 2),
                    "MB": round(cost.mb, 3),
                    "parameters": cost.parameters,
                    "why": why_not(cost, budget),
                }
            )
    return found


def _last(count: int, true: Callable[[int], bool], guess: int) -> int:
    """The last number of 0 to count - 1 for which `true` holds, -1 for none; it holds up to there and not beyond.

    Looked for from `guess` on, step by step.
    """
    low, high = -1, count
    number = min(max(guess, 0), count - 1)
    while high - low > 1:
        low, high, number = (number, high, number + 1) if true(number) else (low, number, number - 1)
    return low


def why_not(cost: Cost, budget: Budget) -> str:
    """Why a candidate does not fit, with room to spare; "" where it does."""
    return _beyond(cost.ms, cost.mb, budget, _ROOM_MS, _ROOM_MB)


def missed(ms: float, mb: float, budget: Budget) -> str:
    """Why a finished student is beyond its budget; "" where it is within."""
    return _beyond(ms, mb, budget, 1.0, 1.0)


def _beyond(ms: float, mb: float, budget: Budget, room_ms: float, room_mb: float) -> str:
    reasons = []
    if budget.max_ms is not None and ms > room_ms * budget.max_ms:
        reasons.append(f"{ms:.3g} ms of {budget.max_ms:g}")
    if budget.max_mb is not None and mb > room_mb * budget.max_mb:
        reasons.append(f"{mb:.3g} MB of {budget.max_mb:g}")
    return " and ".join(reasons)


def nothing_fits(smallest: Sequence[tuple[Candidate, Cost, str]], budget: Budget) -> SrkdError:
    """The error that names the nearest budget that can be met: that of the candidate which is least beyond.

    Args:
        smallest: candidates with what each takes and on which runtime.
    """

    def excess(measured: tuple[Candidate, Cost, str]) -> float:
        cost = measured[1]
        return max(cost.ms / (budget.max_ms or float("inf")), cost.mb / (budget.max_mb or float("inf")))

    nearest, cost, backend = min(smallest, key=excess)
    limits = (("max-ms", budget.max_ms, cost.ms / _ROOM_MS), ("max-mb", budget.max_mb, cost.mb / _ROOM_MB))
    needs = [
        f"--{name} {limit:g}" if limit >= needed else f"--{name} {_up(needed)}"
        for name, limit, needed in limits
        if limit is not None
    ]
    return SrkdError(
        f"nothing meets {budget}: the nearest, {nearest.label} on {backend}, takes {cost.ms:.3g} ms and "
        f"{cost.mb:.3g} MB; {' '.join(needs)} can be met"
    )


def _up(value: float) -> str:
    """Two digits, and not below `value`."""
    text = f"{value:.2g}"
    return text if float(text) >= value else f"{1.05 * value:.2g}"


def chosen(fitting: Sequence[Measured], count: int) -> list[Measured]:
    """At most `count` to be trained: of each family in turn the one with most multiply-adds that is left."""
    families: dict[str, list[Measured]] = {}
    for measured in sorted(fitting, key=lambda m: -m[1].multiply_adds):
        families.setdefault(measured[0].family, []).append(measured)
    in_turn = [members[turn] for turn in range(len(fitting)) for members in families.values() if turn < len(members)]
    return in_turn[:count]
