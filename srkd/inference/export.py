"""A trained network as files for other runtimes, each run and compared with torch before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError, unknown
from srkd.files.atomic import write_text
from srkd.inference import backends
from srkd.inference.backends.engine import Engine
from srkd.inference.calibration import (
    DEFAULT,
    FP32_DIFFERENCE,
    ImagePairs,
    calibration_images,
    check_sizes,
    closeness,
    evaluation_images,
    tiled,
)
from srkd.inference.cost import median_ms
from srkd.inference.graph import facts, graph_of
from srkd.inference.model import Model
from srkd.inference.quantise import SENSITIVITY_COLUMNS, Quantised, quantise
from srkd.report import tables

Row = dict[str, Any]
Say = Callable[[str], None]
COLUMNS = [
    "file",
    "runtime",
    "precision",
    "largest difference",
    "PSNR to torch (dB)",
    "PSNR (dB)",
    "drop (dB)",
    "ms",
    "MB",
    "kept",
]
TARGETS = {"onnx": "onnxruntime", "openvino": "openvino"}  # each to the runtime that runs it
PRECISIONS = ("fp32", "int8")
_LATENCY_SIDE = 256


@dataclass(frozen=True)
class ExportOptions:
    """What is to be exported, and what it is measured by.

    Args:
        targets: of `TARGETS`; precisions: of `PRECISIONS`.
        uint8: the files take and give uint8 NHWC, scaling and clamp inside; else float32 NCHW in [0, 1].
        data: the evaluation set, by default one to choose by and not to report on.
        calibration: what int8 is calibrated on, and how many images of it (None: all).
        max_drop: dB that int8 may lose on the evaluation set; a file that loses more is refused.
    """

    targets: Sequence[str] = ("onnx", "openvino")
    precisions: Sequence[str] = ("fp32",)
    uint8: bool = False
    data: str = "BSDS500/validation"
    calibration: str = DEFAULT
    calibration_count: int | None = None
    max_drop: float = 0.1
    seconds: float = 1.0

    def __post_init__(self) -> None:
        for kind, names, known in (("target", self.targets, TARGETS), ("precision", self.precisions, PRECISIONS)):
            for name in names:
                if name not in known:
                    raise unknown(f"{kind} of an export", name, known)
        if not self.max_drop > 0:
            raise SrkdError(f"max_drop must be above 0 dB, got {self.max_drop:g}")


@dataclass
class Exported:
    """The verified table, a row of `COLUMNS` a file, and for int8 the tables that layers were kept by."""

    rows: list[Row]
    sensitivity: dict[str, list[Row]]

    @property
    def files(self) -> list[Row]:
        """The rows of files, written or refused: neither torch nor what is only there to compare with."""
        return [row for row in self.rows[1:] if row["file"].endswith(tuple(backends.SUFFIXES.values()))]

    @property
    def refused(self) -> list[Row]:
        """The rows of files that were not written because they are not good enough."""
        return [row for row in self.files if row["kept"] != "yes"]

    def text(self) -> str:
        below = (f"{name}\n{tables.text(rows, SENSITIVITY_COLUMNS)}" for name, rows in self.sensitivity.items())
        return "\n\n".join([tables.text(self.rows, COLUMNS), *below])


def export(model: Model, folder: Path, options: ExportOptions, say: Say = lambda line: None) -> Exported:
    """Write `<model>.onnx`, `<model>.xml` with its .bin, and the same with `_int8`, plus export.md and export.json.

    A file appears when it has been read back, run on every image of the evaluation set and found good enough; what is
    not, or cannot be made because a runtime lacks an operator (named), stays out, and its row says why. Each carries
    name, scale, colour, halo, licence and lineage.

    Raises:
        SrkdError: a runtime's package is missing, too few calibration images, as `evaluation_images`, or the folder
            cannot be written to.
    """
    for target in options.targets:
        backends.check_installed(TARGETS[target])
    calibration = None
    if "int8" in options.precisions:
        calibration = calibration_images(model.scale, options.calibration, options.calibration_count)
    judge = _Judge(model, options)
    halo = model.receptive_field.halo
    known = facts(model.name, model.scale, model.multiple, halo, model.meta, model.minimum)
    result = Exported([judge.reference], {})
    graph = graph_of(model.network, options.uint8)
    for runtime in (TARGETS[target] for target in options.targets):
        for precision in options.precisions:
            name = f"{model.name}{'' if precision == 'fp32' else f'_{precision}'}{backends.SUFFIXES[runtime]}"
            say(f"{name}: writing and comparing")
            try:
                if precision == "fp32":
                    own = backends.converted(graph, runtime, precision, known)
                else:
                    assert calibration is not None
                    found = quantise(graph, runtime, known, calibration, options.max_drop, say)
                    _tell(found, name, judge, result)
                    own = found.converted
                result.rows.append(_write(own, runtime, folder / name, judge))
            except backends.CannotRunError as error:
                result.rows.append(_refused(name, runtime, precision, error, judge))
    _write_table(result, folder)
    return result


def _refused(name: str, runtime: str, precision: str, error: SrkdError, judge: _Judge) -> Row:
    """The row of a file that could not be made, or not be run."""
    row: Row = dict.fromkeys(COLUMNS)
    row |= {"file": name, "runtime": runtime, "precision": precision, "kept": f"no: {error}"}
    return row | {"protocol": judge.reference["protocol"]}


def _tell(found: Quantised, name: str, judge: _Judge, result: Exported) -> None:
    """Where layers had to be kept: by which table, and what int8 would have lost without."""
    if found.whole is not None:
        result.sensitivity[name] = found.sensitivity
        row = judge.row(f"{name}, no layer kept", found.whole, None)
        result.rows.append(row | {"kept": "no: in its place the next"})


class _Judge:
    """Compares engines with torch's fp32 answers on the evaluation set."""

    def __init__(self, model: Model, options: ExportOptions) -> None:
        self._images: ImagePairs = evaluation_images(options.data, model.scale)
        self._max_drop, self._seconds = options.max_drop, options.seconds
        engine = self._engine = backends.open_engine(model, "torch", "fp32")
        self._exact = self._images.predictions(engine)
        self._psnr = self._images.psnr(self._exact)
        self._image = tiled(self._images.pairs[0].lr, _LATENCY_SIDE, _LATENCY_SIDE)
        megabytes = sum(p.numel() * p.element_size() for p in model.network.parameters()) / 1e6
        self.reference = self._row(model.name, engine, self._exact, megabytes)

    def row(self, name: str, engine: Engine, megabytes: float | None) -> Row:
        """A row of `COLUMNS`; `kept` is "yes", or why not.

        Raises:
            CannotRunError: the engine cannot run the network, or not at every size.
        """
        check_sizes(engine, self._engine, self._images.pairs[0].lr)
        return self._row(name, engine, self._images.predictions(engine), megabytes)

    def _row(self, name: str, engine: Engine, predictions: list[Any], megabytes: float | None) -> Row:
        lowest, largest = closeness(predictions, self._exact)
        psnr = self._images.psnr(predictions)
        kept = "yes"
        if engine.precision == "fp32" and largest > FP32_DIFFERENCE:
            kept = f"no: differs by {largest} levels"
        elif self._psnr - psnr > self._max_drop:
            kept = f"no: loses {self._psnr - psnr:.3f} dB, more than {self._max_drop:g}"
        size = None if megabytes is None else round(megabytes, 2)
        ms = round(median_ms(lambda: engine(self._image), self._seconds), 2)
        return {
            "file": name,
            "runtime": engine.runtime,
            "precision": engine.precision,
            "largest difference": largest,
            "PSNR to torch (dB)": round(lowest, 2),
            "PSNR (dB)": round(psnr, 3),
            "drop (dB)": round(self._psnr - psnr, 3),
            "ms": ms,
            "MB": size,
            "kept": kept,
            "protocol": self._images.protocol.as_dict(["psnr"]),
        }


def _write(own: Any, runtime: str, path: Path, judge: _Judge) -> Row:
    row: Row = {}

    def accept(saved: Path) -> bool:
        megabytes = sum(file.stat().st_size for file in saved.parent.iterdir()) / 1e6
        row.update(judge.row(path.name, backends.open_file(saved), megabytes))
        return row["kept"] == "yes"

    backends.save(own, runtime, path, accept)
    return row


def _write_table(result: Exported, folder: Path) -> None:
    parts = [tables.markdown(result.rows, COLUMNS)]
    for name, rows in result.sensitivity.items():
        parts.append(f"Layers of {name}, most sensitive first:\n\n{tables.markdown(rows, SENSITIVITY_COLUMNS)}")
    write_text(folder / "export.md", "\n\n".join(parts) + "\n")
    write_text(folder / "export.json", tables.as_json(result.rows, COLUMNS) + "\n")
