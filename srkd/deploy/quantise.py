"""int8 with as few layers kept in higher precision as it takes: which ones is measured, one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from srkd.deploy import runtimes
from srkd.deploy.calibration import Pictures, closeness
from srkd.deploy.graph import layers
from srkd.deploy.runtimes.engine import Bytes, Engine

Row = dict[str, Any]
Say = Callable[[str], None]
SENSITIVITY_COLUMNS = ["layer", "PSNR to fp32, alone in int8 (dB)", "kept"]
# Calibration pictures are not those that the gate looks at: their error, pooled, was half of Set5's loss.
_MARGIN = 1 / 3
_MOST_KEPT = 0.5
_RANKED_ON = 3  # pictures that are enough to rank layers by


@dataclass
class Quantised:
    """An int8 network, the layers kept out of it, and what it loses on the calibration pictures (dB).

    Where layers had to be kept: the table that they were chosen by, most sensitive first, and `whole`, the network with
    none kept.
    """

    converted: Any
    engine: Engine
    drop: float
    kept: list[str] = field(default_factory=list)
    sensitivity: list[Row] = field(default_factory=list)
    whole: Engine | None = None


class _Quantiser:
    """Makes int8 forms of one converted network and measures them against its fp32 form."""

    def __init__(self, converted: Any, runtime: str, known: dict[str, Any], pictures: Pictures) -> None:
        self.original, self._runtime, self._known, self._pictures = converted, runtime, known, pictures
        self.exact = pictures.answers(runtimes.wrap(converted, runtime, "fp32", known))
        self._psnr = pictures.pooled_psnr(self.exact)

    def __call__(self, keep: Collection[str]) -> tuple[Quantised, list[Bytes]]:
        converted = runtimes.quantised(self.original, self._runtime, self._pictures.inputs, keep)
        engine = runtimes.wrap(converted, self._runtime, "int8", self._known)
        answers = self._pictures.answers(engine)
        return Quantised(converted, engine, self._psnr - self._pictures.pooled_psnr(answers), list(keep)), answers


def quantise(
    graph: Any, runtime: str, known: dict[str, Any], pictures: Pictures, max_drop: float, say: Say = lambda line: None
) -> Quantised:
    """Static int8 of a graph (`srkd.deploy.graph`) that loses at most a third of `max_drop` on calibration pictures.

    All convolutions are quantised first. Where that loses too much, each is quantised alone, and the most sensitive are
    kept in higher precision, more and more of them up to half; what comes closest is returned, so look at `drop`.

    Args:
        known: `graph.facts`.
        max_drop: dB of PSNR, on the pictures that decide; see `_MARGIN`.
        say: told of what takes long.

    Raises:
        SrkdError: as `runtimes.convert`.
    """
    make = _Quantiser(runtimes.converted(graph, runtime, "int8", known), runtime, known, pictures)
    found, _ = make(())
    aim = _MARGIN * max_drop
    if found.drop <= aim:
        return found
    names = list(layers(graph))
    say(f"{runtime} int8 loses {found.drop:.3f} dB on {pictures.name}: looking for sensitive layers among {len(names)}")
    fewer = replace(pictures, pairs=pictures.pairs[:_RANKED_ON])
    rank = _Quantiser(make.original, runtime, known, fewer)
    table = sorted(_alone(rank, names), key=lambda row: row[SENSITIVITY_COLUMNS[1]])
    best = found
    for count in _counts(len(names)):
        candidate, _ = make([row["layer"] for row in table[:count]])
        best = min(best, candidate, key=lambda quantised: quantised.drop)
        if best.drop <= aim:
            break
    best.whole = found.engine
    best.sensitivity = [row | {"kept": row["layer"] in best.kept} for row in table]
    return best


def _alone(make: _Quantiser, names: list[str]) -> Iterator[Row]:
    for name in names:
        _, answers = make([other for other in names if other != name])
        yield {"layer": name, SENSITIVITY_COLUMNS[1]: round(closeness(answers, make.exact)[0], 2)}


def _counts(layers: int) -> Iterator[int]:
    """1, 2, 3, 5, 8, ... up to half of the layers."""
    count, following = 1, 2
    while count <= _MOST_KEPT * layers:
        yield count
        count, following = following, count + following
