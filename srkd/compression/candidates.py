"""The candidate students, and which of them fit a budget.

Candidates come in lines: those of a line differ only in width and are sorted from narrow to wide.
The sizes are those that networks declare (`srkd.networks.base.Ladder`), and the teacher pruned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from srkd import networks
from srkd.compression.request import Budget
from srkd.errors import SrkdError
from srkd.imitation.teachers import OutputTeacher
from srkd.inference.cost import parameters
from srkd.inference.model import Model
from srkd.inference.prune import prune
from srkd.networks import registry, rungs
from srkd.networks.base import Ladder
from srkd.training.checkpoint import save_weights

# Safety margins, as factors: timings vary by some per cent between measurements, file sizes with their metadata.
_MARGIN_MS, _MARGIN_MB = 0.9, 0.98
MARGIN_ESTIMATED = 0.75  # of milliseconds that were estimated from those of another candidate
_PRUNED = ((0.25, 0.5, 1.0), (0.25, 0.5, 1.0))  # kept shares of inner channels (along a line) and of blocks
# Learning rates: of SOAP up to a width of 32; of Adam, with which other candidates are trained. At twice the rate an
# imitating student may collapse to its skip.
_LR, _WIDEST_AT_LR, _LR_IMITATING, _LR_PRUNED = 6e-3, 32, 1e-3, 2e-4


@dataclass(frozen=True)
class Candidate:
    """A possible student: its network spec, learning rate, initial weights (None for random) and optimiser."""

    label: str
    family: str
    spec: dict[str, Any] = field(hash=False)
    lr: float
    start: str | None = None
    optimiser: str = "Adam"

    def build(self, scale: int) -> nn.Module:
        """The network in eval mode, with random weights unless it is pruned."""
        return networks.build(self.spec, scale).eval()


Line = list[Candidate]
Rungs = tuple[Ladder, list[dict[str, Any]]]


def lines(teacher: Model | OutputTeacher, folder: Path, networks: Sequence[str] = ()) -> list[Line]:
    """All candidates by family and depth: the sizes that are offered, and pruned teachers if the teacher can be pruned
    and is not imitated.

    Args:
        folder: where the pruned teachers' weights are saved.
        networks: only these networks or sizes, as `rungs.lines`, offered or not.

    Raises:
        SrkdError: as `rungs.lines`.
    """
    imitating = isinstance(teacher, OutputTeacher)
    sizes = rungs.lines(networks) if networks else _offered(imitating)
    found = [[_candidate(ladder, spec, imitating) for spec in line] for ladder, line in sizes]
    return found if networks or isinstance(teacher, OutputTeacher) else [*found, *_pruned(teacher, folder)]


def narrower(candidate: Candidate, lines: Sequence[Line], share: float, scale: int) -> Candidate:
    """The widest candidate of the same line with at most `share` of the parameters, or else the narrowest."""
    line = next(line for line in lines if candidate in line)
    most = share * parameters(candidate.build(scale))
    smaller = [other for other in line if parameters(other.build(scale)) <= most]
    return smaller[-1] if smaller else line[0]


def _offered(imitating: bool) -> list[Rungs]:
    return [
        (ladder, line)
        for kind, ladder in registry.ladders()
        if ladder.offered
        for line in ladder.lines(kind)
        if imitating or not ladder.imitates
    ]


def _candidate(ladder: Ladder, spec: dict[str, Any], imitating: bool) -> Candidate:
    width, depth = spec[ladder.width], spec[ladder.depth]
    label, narrowness = f"{ladder.family} {width}x{depth}", min(1.0, _WIDEST_AT_LR / width)
    if imitating:  # with Adam wide networks diverge at the rate of narrow ones; EDSR-baseline (64) uses a quarter of it
        return Candidate(label, ladder.family, spec, _LR_IMITATING * min(1.0, 2 * narrowness**2))
    return Candidate(label, ladder.family, spec, _LR * narrowness, optimiser="SOAP")


def _pruned(teacher: Model, folder: Path) -> list[Line]:
    found: list[Line] = []
    for blocks in _PRUNED[1]:
        with suppress(SrkdError):  # a teacher that cannot be pruned, or has no blocks that can be removed
            shares = [keep for keep in _PRUNED[0] if keep * blocks < 1]
            found.append([_pruned_candidate(teacher, keep, blocks, folder) for keep in shares])
    return found


def _pruned_candidate(teacher: Model, keep: float, blocks: float, folder: Path) -> Candidate:
    small = prune(teacher.network, teacher.meta.get("network", {}), keep, blocks)
    path = folder / f"pruned_{keep:g}_{blocks:g}.safetensors"
    if not path.is_file():
        save_weights(path, small.network.state_dict(), {"network": small.spec, "scale": teacher.scale})
    return Candidate(f"teacher {keep:.0%} wide, {blocks:.0%} deep", "pruned teacher", small.spec, _LR_PRUNED, str(path))


@dataclass(frozen=True)
class Cost:
    """Cost of a candidate for the budget's input size.

    Args:
        spread: how much its milliseconds varied (`Speed.spread`); None if that is unknown.
        estimated: whether they were not measured but follow from another candidate's.
    """

    ms: float
    mb: float
    parameters: int
    multiply_adds: float
    spread: float | None = None
    estimated: bool = False

    def scaled(self, parameters: int, multiply_adds: float) -> Cost:
        """The cost of another network, estimated in proportion to this one's."""
        more = multiply_adds / self.multiply_adds
        return Cost(more * self.ms, self.mb * parameters / self.parameters, parameters, multiply_adds, None, True)

    def __str__(self) -> str:
        """The milliseconds and how far they can be trusted."""
        doubt = "estimated" if self.estimated else "one pass" if self.spread is None else f"±{self.spread:.0%}"
        return f"{self.ms:.3g} ms, {doubt}"

    def row(self) -> dict[str, Any]:
        """The columns of a table."""
        return {"ms": round(self.ms, 2), "MB": round(self.mb, 3), "parameters": self.parameters}


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
            why = rejection_reason(cost, budget)
            found.rejected.append({"candidate": line[widest + 1].label, **cost.row(), "why": why})
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
    return _over_budget(cost.ms, cost.mb, budget, _margin_ms(cost), _MARGIN_MB)


def _margin_ms(cost: Cost) -> float:
    return MARGIN_ESTIMATED if cost.estimated else _MARGIN_MS


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
    limits = (("max-ms", budget.max_ms, cost.ms / _margin_ms(cost)), ("max-mb", budget.max_mb, cost.mb / _MARGIN_MB))
    needs = [
        f"--{name} {limit:g}" if limit >= needed else f"--{name} {_round_up(needed)}"
        for name, limit, needed in limits
        if limit is not None
    ]
    return SrkdError(
        f"no candidate meets {budget}: the closest, {nearest.label} on {backend}, takes {cost.ms:.3g} ms"
        f"{' (estimated)' if cost.estimated else ''} and {cost.mb:.3g} MB; {' '.join(needs)} can be met"
    )


def _round_up(value: float) -> str:
    """`value` rounded up to two digits."""
    near = float(f"{value:.2g}")
    return f"{near if near >= value else float(f'{1.05 * value:.2g}'):g}"


def select(fitting: Sequence[Measured], count: int) -> list[Measured]:
    """Select at most `count` candidates to train: from each family in turn the one with the most multiply-adds."""
    families: dict[str, list[Measured]] = {}
    for measured in sorted(fitting, key=lambda m: -m[1].multiply_adds):
        families.setdefault(measured[0].family, []).append(measured)
    in_turn = [members[turn] for turn in range(len(fitting)) for members in families.values() if turn < len(members)]
    return in_turn[:count]
