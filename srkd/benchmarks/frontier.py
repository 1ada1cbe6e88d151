"""The zoo's and published small networks: quality against multiply-adds and against milliseconds on this machine.

Milliseconds need a structure, not weights: those of published networks are of untrained ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from srkd import networks
from srkd.benchmarks import ntire
from srkd.benchmarks.ladders import Backend, measure, timings
from srkd.errors import SrkdError
from srkd.files.atomic import write_bytes, write_json, write_text
from srkd.inference.cost import multiply_adds, parameters
from srkd.inference.speed import in_subprocess, machine
from srkd.metrics import published
from srkd.metrics.psnr import PSNR
from srkd.metrics.scores import Protocol
from srkd.networks import zoo
from srkd.report import plots, tables
from srkd.training.recipe import read

OUTPUT = (1280, 720)
SETS = ("Set5", "Set14", "B100", "Urban100")
SCORE, YEAR = "NTIRE score", 2026
_COST, _PARAMETERS = "G multiply-adds", "parameters"
_MOST = 100.0  # G multiply-adds: what is small, and shown
_PSNR = PSNR()
Row = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """A network at one scale: its costs, mean PSNR by set (dB), and its structure, if srkd has it."""

    name: str
    by: str
    parameters: int
    multiply_adds: float
    psnr: dict[str, float]
    network: dict[str, Any] | None = None
    year: int | None = None

    def row(self) -> Row:
        """The columns that need no measurement."""
        sets = {name: round(value, _PSNR.brief_digits or 2) for name, value in self.psnr.items()}
        costs = {_PARAMETERS: self.parameters, _COST: round(self.multiply_adds / 1e9, 2)}
        return {"network": self.name, "by": self.by, "year": str(self.year or "-"), **costs, **sets}


@dataclass
class Frontier:
    """Rows by scale, sorted by multiply-adds, with the date and the machine of the milliseconds."""

    scales: dict[int, list[Row]]
    columns: list[str]
    on: str
    date: str = field(default_factory=lambda: date.today().isoformat())

    def as_dict(self) -> dict[str, Any]:
        """Plain data: {"date", "machine", "x2": rows, ...}."""
        return {"date": self.date, "machine": self.on, **{f"x{scale}": rows for scale, rows in self.scales.items()}}

    def text(self) -> str:
        """A table for each scale."""
        return "\n\n".join(f"x{scale}\n{tables.text(rows, self._shown(rows))}" for scale, rows in self.scales.items())

    def _shown(self, rows: Sequence[Row]) -> list[str]:
        return [column for column in self.columns if any(row.get(column) is not None for row in rows)]

    def write(self, folder: Path, judged: str) -> None:
        """Write frontier.json, frontier.md, and for each scale frontier_x2.svg and, if milliseconds were measured,
        frontier_x2_ms.svg, of the PSNR on the set `judged`."""
        write_json(folder / "frontier.json", self.as_dict())
        parts = [f"## x{scale}\n\n{tables.markdown(rows, self._shown(rows))}" for scale, rows in self.scales.items()]
        write_text(folder / "frontier.md", "\n\n".join(parts) + "\n")
        for scale, rows in self.scales.items():
            milliseconds = [column for column in self.columns if column.endswith(" ms")]
            for cost, suffix in ((_COST, ""), *((column, "_ms") for column in milliseconds[:1])):
                points = _points(rows, cost, judged)
                if len(points) > 1:
                    drawn = plots.draw(plots.pareto(points, cost, f"{_PSNR.label} on {judged}, x{scale} (dB)"))
                    write_bytes(folder / f"frontier_x{scale}{suffix}.svg", drawn)


def _points(rows: Sequence[Row], cost: str, judged: str) -> list[dict[str, Any]]:
    """Points of a plot, srkd's first; published networks of one family, as ETDS-T and ETDS-L, have one label."""
    shown = sorted((row for row in rows if row.get(cost) and row.get(judged)), key=lambda row: str(row["by"]) != "srkd")
    families = Counter(_family(row) for row in shown)
    labels = [_family(row) if families[_family(row)] > 1 else row["network"] for row in shown]
    return [{"label": label, "x": row[cost], "y": row[judged]} for label, row in zip(labels, shown, strict=True)]


def _family(row: Row) -> str:
    return str(row["network"]) if row["by"] == "srkd" else str(row["network"]).partition("-")[0]


def entries(scale: int) -> list[Point]:
    """The zoo's trained models and the published networks with scores at a scale, by multiply-adds; up to 100 G.

    Raises:
        SrkdError: none at this scale.
    """
    found = [each for each in [*_zoo(scale), *_published(scale)] if each.multiply_adds / 1e9 <= _MOST]
    if not found:
        raise SrkdError(f"no networks for x{scale}: the frontier is of {', '.join(f'x{s}' for s in published.SCALES)}")
    return sorted(found, key=lambda each: (each.multiply_adds, each.name))


def _zoo(scale: int) -> list[Point]:
    stamp = Protocol.default(scale).stamp()
    found = []
    for name in zoo.trained():
        known = zoo.metrics(name)
        sets = {key: s["psnr"] for key, s in known.get("sets", {}).items() if s.get("protocol") == stamp}
        if known.get("scale") == scale and sets:
            network = dict(read(zoo.folder(name) / "recipe.yml")["network_g"])
            found.append(Point(name, "srkd", known["parameters"], known["multiply_adds_1280x720"], sets, network))
    return found


def _published(scale: int) -> list[Point]:
    found = []
    for known in published.entries().values():
        at = known.at(scale)
        if at.parameters is None or at.multiply_adds is None:
            continue
        sets = {name: scores["psnr"] for name, scores in at.scores.items()}
        network = dict(known.network) if known.network else None
        found.append(Point(known.model, "published", at.parameters, at.multiply_adds, sets, network, known.year))
    return found


def frontier(
    scales: Sequence[int], selection: Sequence[Backend], threads: int, seconds: float, say: Callable[[str], None]
) -> Frontier:
    """All rows, with milliseconds for an output of 1280x720 by each backend where the structure is known, and at x4 the
    score of NTIRE's challenge by the first of them.

    Args:
        selection: (runtime, precision) pairs; none: nothing is measured.
        threads: of the runtime; see `ladders.measure`.
        seconds: time of each measurement.

    Raises:
        SrkdError: as `entries` and `ladders.measure`.
    """
    titles = [f"{runtime} {precision} ms" for runtime, precision in selection]
    columns = ["network", "by", "year", _PARAMETERS, _COST, *titles, *SETS, SCORE]
    found = {}
    for scale in scales:
        clock = _Clock(scale, selection, threads, seconds, say)
        rows = []
        for each in entries(scale):
            times = clock(each.name, each.network) if each.network else []
            row = each.row() | dict(zip(titles, times, strict=False))
            if times and scale == 4:
                row[SCORE] = round(clock.score(each, times[0]), 2)
            rows.append(row)
        found[scale] = rows
    return Frontier(found, columns, machine())


class _Clock:
    """Measures structures at one scale, each once."""

    def __init__(
        self, scale: int, selection: Sequence[Backend], threads: int, seconds: float, say: Callable[[str], None]
    ) -> None:
        self.scale, self.selection, self.threads, self.seconds, self.say = scale, selection, threads, seconds, say
        self._known: dict[str, list[float]] = {}

    def __call__(self, name: str, spec: dict[str, Any]) -> list[float]:
        """Milliseconds by backend, for an output of 1280x720."""
        key, size = repr(sorted(spec.items())), (OUTPUT[0] // self.scale, OUTPUT[1] // self.scale)
        if self.selection and key not in self._known:
            self.say(f"{name} x{self.scale}: {', '.join(timings(self.selection, [size]))}")
            self._known[key] = [
                in_subprocess(measure, spec, list(backend), [size], self.scale, self.threads, self.seconds)[0]
                for backend in self.selection
            ]
        return self._known.get(key, [])

    def score(self, point: Point, ms: float) -> float:
        """The score of NTIRE's challenge, by costs relative to its baseline's on this machine."""
        challenge = ntire.CHALLENGES[YEAR]
        spec = dict(challenge.network or {})
        baseline = networks.build(spec, self.scale).eval()
        own = ntire.Costs(ms, point.multiply_adds, point.parameters)
        count, macs = parameters(baseline), multiply_adds(baseline, self.scale)
        return ntire.score(own, challenge, ntire.Costs(self(challenge.baseline, spec)[0], macs, count))
