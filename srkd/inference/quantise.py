"""int8 quantisation that keeps as few layers in higher precision as needed, chosen by measured sensitivity."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from srkd.inference import backends
from srkd.inference.backends.engine import Bytes
from srkd.inference.calibration import ImagePairs, closeness
from srkd.inference.graph import layers
from srkd.inference.model import Model

Row = dict[str, Any]
Say = Callable[[str], None]
SENSITIVITY_COLUMNS = ["layer", "PSNR to fp32, alone in int8 (dB)", "kept"]
# Calibration images are not those that `max_drop` is checked on: their pooled loss was half of Set5's.
_MARGIN = 1 / 3
_MOST_KEPT = 0.5
_RANKED_ON = 3  # images used to rank the layers


@dataclass
class Quantised:
    """An int8 network, the layers kept in higher precision, and its PSNR loss on the calibration images (`drop`, dB).

    If layers had to be kept: `sensitivity`, the table that they were chosen by, most sensitive first, and `whole`, the
    model with all layers quantised.
    """

    converted: Any
    model: Model
    drop: float
    kept: list[str] = field(default_factory=list)
    sensitivity: list[Row] = field(default_factory=list)
    whole: Model | None = None


class _Quantiser:
    """Creates int8 versions of one converted network and measures them against its fp32 version."""

    def __init__(self, converted: Any, runtime: str, known: dict[str, Any], images: ImagePairs) -> None:
        self.original, self._runtime, self._known, self._images = converted, runtime, known, images
        self.exact = images.predictions(backends.wrap(converted, runtime, "fp32", known))
        self._psnr = images.pooled_psnr(self.exact)

    def __call__(self, keep: Collection[str]) -> tuple[Quantised, list[Bytes]]:
        converted = backends.quantised(self.original, self._runtime, self._images.inputs, keep)
        model = backends.wrap(converted, self._runtime, "int8", self._known)
        predictions = self._images.predictions(model)
        return Quantised(converted, model, self._psnr - self._images.pooled_psnr(predictions), list(keep)), predictions


def quantise(
    graph: Any, runtime: str, known: dict[str, Any], images: ImagePairs, max_drop: float, say: Say = lambda line: None
) -> Quantised:
    """Static int8 of a graph (`srkd.inference.graph`) that loses at most a third of `max_drop` on calibration images.

    All convolutions are quantised first. If that loses too much, each is quantised alone, and increasing numbers of the
    most sensitive ones, up to half, are kept in higher precision. If none reaches the target, the best is returned:
    check `drop`.

    Args:
        known: `Model.facts`.
        max_drop: dB of PSNR that int8 may lose on the evaluation images; see `_MARGIN`.
        say: called with progress messages.

    Raises:
        SrkdError: as `backends.converted`.
    """
    make = _Quantiser(backends.converted(graph, runtime, "int8", known), runtime, known, images)
    found, _ = make(())
    target = _MARGIN * max_drop
    if found.drop <= target:
        return found
    names = list(layers(graph))
    say(f"{runtime} int8 loses {found.drop:.3f} dB on {images.name}: searching for sensitive layers among {len(names)}")
    fewer = replace(images, pairs=images.pairs[:_RANKED_ON])
    rank = _Quantiser(make.original, runtime, known, fewer)
    table = sorted(_alone(rank, names), key=lambda row: row[SENSITIVITY_COLUMNS[1]])
    best = found
    for count in _counts(len(names)):
        candidate, _ = make([row["layer"] for row in table[:count]])
        best = min(best, candidate, key=lambda quantised: quantised.drop)
        if best.drop <= target:
            break
    best.whole = found.model
    best.sensitivity = [row | {"kept": row["layer"] in best.kept} for row in table]
    return best


def _alone(make: _Quantiser, names: list[str]) -> Iterator[Row]:
    for name in names:
        _, predictions = make([other for other in names if other != name])
        yield {"layer": name, SENSITIVITY_COLUMNS[1]: round(closeness(predictions, make.exact)[0], 2)}


def _counts(layers: int) -> Iterator[int]:
    """1, 2, 3, 5, 8, ... up to half of the layers."""
    count, following = 1, 2
    while count <= _MOST_KEPT * layers:
        yield count
        count, following = following, count + following
