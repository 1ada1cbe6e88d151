"""Which candidates fit a budget, measured along each line of candidates from narrow to wide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from srkd.compression.ladder import Candidate, Line
from srkd.compression.request import Budget
from srkd.errors import SrkdError

# Safety margins, as factors: timings vary by some per cent between measurements, file sizes with their metadata.
_MARGIN_MS, _MARGIN_MB = 0.9, 0.98


@dataclass(frozen=True)
class Cost:
    """Cost of a candidate: milliseconds and multiply-adds for the budget's input size, megabytes, parameters."""

    ms: float
    mb: float
    parameters: int
    multiply_adds: float


Measured = tuple[Candidate, Cost]


@dataclass
class SearchResult:
    """Result of `search`.

    Args:
        fitting: the widest candidate of each line that fits.
        rejected: a row for the next wider candidate of each line, with the reason as `why`.
        smallest: the narrowest candidate of each line of which none fits.
    """

    fitting: list[Measured] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    smallest: list[Measured] = field(default_factory=list)


def search(lines: Sequence[Line], measure: Callable[[Candidate], Cost], budget: Budget) -> SearchResult:
    """Find the widest candidate of each line that fits, with few measurements.

    Args:
        lines: grouped by family and sorted by depth; costs grow along a line and from one line to the next.
    """
    found, family, widest = SearchResult(), "", 0
    for line in lines:
        if line[0].family == family and widest < 0:
            continue  # deeper networks do not fit either
        # The depth doubles from one line of a family to the next: about one step of width.
        guess = widest - 1 if line[0].family == family else len(line) // 2
        family = line[0].family
        costs: dict[int, Cost] = {}

        def fits(number: int, line: Line = line, costs: dict[int, Cost] = costs) -> bool:
            costs[number] = measure(line[number])
            return not rejection_reason(costs[number], budget)

        widest = _last_true(len(line), fits, guess)
        if widest >= 0:
            found.fitting.append((line[widest], costs[widest]))
        else:
            found.smallest.append((line[0], costs[0]))
        if widest + 1 < len(line):
            cost = costs[widest + 1]
            found.rejected.append(
                {
                    "candidate": line[widest + 1].label,
                    "ms": round(cost.ms, 2),
                    "MB": round(cost.mb, 3),
                    "parameters": cost.parameters,
                    "why": rejection_reason(cost, budget),
                }
            )
    return found


def _last_true(count: int, true: Callable[[int], bool], guess: int) -> int:
    """The largest index below `count` for which `true` returns True, or -1 if there is none.

    `true` must be monotonic: True up to that index and False beyond. The search starts at `guess` and moves by one.
    """
    low, high = -1, count
    number = min(max(guess, 0), count - 1)
    while high - low > 1:
        low, high, number = (number, high, number + 1) if true(number) else (low, number, number - 1)
    return low


def rejection_reason(cost: Cost, budget: Budget) -> str:
    """Why a candidate does not fit the budget with the safety margins; "" if it does."""
    return _over_budget(cost.ms, cost.mb, budget, _MARGIN_MS, _MARGIN_MB)


def violation(ms: float, mb: float, budget: Budget) -> str:
    """Why a finished student exceeds its budget; "" if it does not."""
    return _over_budget(ms, mb, budget, 1.0, 1.0)


def _over_budget(ms: float, mb: float, budget: Budget, margin_ms: float, margin_mb: float) -> str:
    reasons = []
    if budget.max_ms is not None and ms > margin_ms * budget.max_ms:
        reasons.append(f"{ms:.3g} ms of {budget.max_ms:g}")
    if budget.max_mb is not None and mb > margin_mb * budget.max_mb:
        reasons.append(f"{mb:.3g} MB of {budget.max_mb:g}")
    return " and ".join(reasons)


def nothing_fits(smallest: Sequence[tuple[Candidate, Cost, str]], budget: Budget) -> SrkdError:
    """The error for a budget that no candidate fits. It names the smallest budget that can be met.

    Args:
        smallest: candidates with their costs and the backend they were measured on.
    """

    def excess(measured: tuple[Candidate, Cost, str]) -> float:
        cost = measured[1]
        return max(cost.ms / (budget.max_ms or float("inf")), cost.mb / (budget.max_mb or float("inf")))

    nearest, cost, backend = min(smallest, key=excess)
    limits = (("max-ms", budget.max_ms, cost.ms / _MARGIN_MS), ("max-mb", budget.max_mb, cost.mb / _MARGIN_MB))
    needs = [
        f"--{name} {limit:g}" if limit >= needed else f"--{name} {_round_up(needed)}"
        for name, limit, needed in limits
        if limit is not None
    ]
    return SrkdError(
        f"no candidate meets {budget}: the closest, {nearest.label} on {backend}, takes {cost.ms:.3g} ms and "
        f"{cost.mb:.3g} MB; {' '.join(needs)} can be met"
    )


def _round_up(value: float) -> str:
    """`value` rounded up to two digits."""
    text = f"{value:.2g}"
    return text if float(text) >= value else f"{1.05 * value:.2g}"


def select(fitting: Sequence[Measured], count: int) -> list[Measured]:
    """Select at most `count` candidates to train: from each family in turn the one with the most multiply-adds."""
    families: dict[str, list[Measured]] = {}
    for measured in sorted(fitting, key=lambda m: -m[1].multiply_adds):
        families.setdefault(measured[0].family, []).append(measured)
    in_turn = [members[turn] for turn in range(len(fitting)) for members in families.values() if turn < len(members)]
    return in_turn[:count]
