"""Export of a trained network to other runtimes; each file is compared with torch before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError, unknown
from srkd.files.atomic import write_text
from srkd.inference import backends, openmodeldb
from srkd.inference.backends import ncnn
from srkd.inference.browser import folder as browser
from srkd.inference.calibration import (
    DEFAULT,
    FP32_DIFFERENCE,
    ImagePairs,
    calibration_images,
    check_sizes,
    closeness,
    evaluation_images,
)
from srkd.inference.graph import graph_of
from srkd.inference.model import Model
from srkd.inference.proof import pairs_of, proof_of, replay
from srkd.inference.quantise import SENSITIVITY_COLUMNS, Quantised, quantise
from srkd.inference.speed import SpeedMeter
from srkd.metrics.psnr import PSNR
from srkd.report import tables

_PSNR = PSNR()
Row = dict[str, Any]
Say = Callable[[str], None]
COLUMNS = [
    "file",
    "runtime",
    "precision",
    "largest difference",
    "PSNR to torch (dB)",
    _PSNR.title,
    "drop (dB)",
    "ms",
    "MB",
    "kept",
]
TARGETS = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "ncnn": "ncnn",
    "litert": "litert",
    "browser": "onnxruntime",
}  # target: the runtime that runs it
PRECISIONS = ("fp32", "fp16", "int8")
_MIN_FP16 = 45.0  # dB from torch fp32
_NCNN_FOLDER = "models"  # the name that Upscayl requires; apart, because an .xml has a .bin too


@dataclass(frozen=True)
class ExportOptions:
    """What to export, and how to verify it.

    Args:
        targets: keys of `TARGETS`, or the suffixes of their files; as for `precisions` case does not matter, and one
            that is repeated counts once.
        precisions: of `PRECISIONS`; each applies to the targets that have it (fp16: ncnn's stored weights).
        uint8: input and output are uint8 NHWC, with scaling and clamp in the graph; else float32 NCHW in [0, 1], which
            ncnn and the browser's page always have.
        data: the evaluation set; the default is for model selection, not for reporting.
        calibration: the image set for int8 calibration.
        calibration_count: how many of its images are used (None: all).
        max_drop: dB of PSNR that int8 may lose on the evaluation set; a file that loses more is rejected.
        seconds: how long to measure the latency of each file.
        author: for the entry of OpenModelDB; empty: the card's, or "unknown".
    """

    targets: Sequence[str] = ("onnx", "openvino")
    precisions: Sequence[str] = ("fp32",)
    uint8: bool = False
    data: str = "BSDS500/validation"
    calibration: str = DEFAULT
    calibration_count: int | None = None
    max_drop: float = 0.1
    seconds: float = 1.0
    author: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", list(dict.fromkeys(map(_target, self.targets))))
        object.__setattr__(self, "precisions", list(dict.fromkeys(map(_name, self.precisions))))
        for kind, names, known in (("target", self.targets, TARGETS), ("precision", self.precisions, PRECISIONS)):
            for name in names:
                if name not in known:
                    raise unknown(f"{kind} of an export", name, known)
        for target in self.targets:
            if not self.precisions_of(target):
                backends.check(TARGETS[target], self.precisions[0])
                raise SrkdError(f"{target} has fp32, not {self.precisions[0]}")
        for precision in self.precisions:
            if not any(precision in self.precisions_of(target) for target in self.targets):
                backends.check(TARGETS[self.targets[0]], precision)
        if not self.max_drop > 0:
            raise SrkdError(f"max_drop must be above 0 dB, got {self.max_drop:g}")

    def precisions_of(self, target: str) -> list[str]:
        """The requested precisions that a target has."""
        known = ("fp32",) if target == "browser" else backends.PRECISIONS[TARGETS[target]]
        return [precision for precision in self.precisions if precision in known]


def _name(given: str) -> str:
    return given.strip().lower()


def _target(given: str) -> str:
    """The target of a name in any case, or of the suffix of its files: `.ONNX` and `.xml` are onnx and openvino."""
    name = _name(given)
    by_suffix = {backends.SUFFIXES[TARGETS[target]]: target for target in TARGETS if target != "browser"}
    return by_suffix.get(name, name)


@dataclass
class Exported:
    """The verification table, one row of `COLUMNS` per file, and the layer sensitivity tables of int8 files."""

    rows: list[Row]
    sensitivity: dict[str, list[Row]]

    @property
    def files(self) -> list[Row]:
        """The rows of files, written or rejected, without the reference and comparison rows."""
        return [row for row in self.rows[1:] if row["file"].endswith(tuple(backends.SUFFIXES.values()))]

    @property
    def rejected(self) -> list[Row]:
        """The rows of files that were not written because they failed the verification."""
        return [row for row in self.files if row["kept"] != "yes"]

    def kept(self, file: str) -> bool:
        """Whether a file was written."""
        return any(row["file"] == file and row["kept"] == "yes" for row in self.rows)

    def text(self) -> str:
        sensitivity = (f"{name}\n{tables.text(rows, SENSITIVITY_COLUMNS)}" for name, rows in self.sensitivity.items())
        return "\n\n".join([tables.text(self.rows, COLUMNS), *sensitivity])


def export(model: Model, folder: Path, options: ExportOptions, say: Say = lambda line: None) -> Exported:
    """Write `<model>.onnx`, `<model>.xml` with its .bin, and the same with `_int8`, plus export.md and export.json, and
    an entry of OpenModelDB (`srkd.inference.openmodeldb`).

    The browser's are in `browser`: a page with the network and the runtime (`srkd.inference.browser`).
    ncnn's files are `models/<model>.param`, .bin and .param.json, and the same with `_fp16`; see `ncnn.file_stem` for
    the name.

    A file is kept only after it has been read back, run on every image of the evaluation set and accepted. The row of
    a file that was rejected, or could not be exported because a runtime lacks an operator (named), states the reason.
    Each file carries name, scale, colour, halo, licence and lineage in its metadata, and its proof
    (`srkd.inference.proof`), which `srkd verify` replays.

    Raises:
        SrkdError: the model is an exported file itself, a runtime's package is missing, too few calibration images, as
            `evaluation_images`, the folder cannot be written to, or a file in it that srkd did not write has the name
            of one beside an .xml or .param.
    """
    if not model.has_network:  # before images are downloaded and scored
        raise SrkdError(f"{model.name} is an exported file already: give the checkpoint that it was made from")
    for target in options.targets:
        backends.check_installed(TARGETS[target])
        for precision in options.precisions_of(target):
            backends.check_replaceable(folder / _file_name(model, target, precision))
    calibration = None
    if "int8" in options.precisions:
        calibration = calibration_images(model.scale, options.calibration, options.calibration_count)
    page = browser.begin(model, folder / browser.FOLDER) if "browser" in options.targets else []
    verifier = _Verifier(model, options)
    known = model.facts(tiling=True)
    result = Exported([verifier.reference], {})
    for target in options.targets:
        runtime = TARGETS[target]
        graph = graph_of(model.network, options.uint8 and target != "browser")
        for precision in options.precisions_of(target):
            name = _file_name(model, target, precision)
            say(f"{name}: writing and comparing")
            try:
                if precision != "int8":
                    converted = backends.converted(graph, runtime, precision, known)
                else:
                    assert calibration is not None
                    found = quantise(graph, runtime, known, calibration, options.max_drop, say)
                    _add_sensitivity(found, name, verifier, result)
                    converted = found.converted
                proof = proof_of(verifier.pairs, backends.wrap(converted, runtime, precision, known))
                proved = backends.proved(converted, runtime, proof)
                result.rows.append(_write(proved, runtime, folder, name, verifier))
            except backends.CannotRunError as error:
                result.rows.append(_failed_row(name, runtime, precision, error, verifier))
    if page and result.kept(f"{browser.FOLDER}/{browser.MODEL}"):
        browser.finish(model, folder / browser.FOLDER, page, known)
    _write_table(result, folder)
    kept = [file for row in result.files if row["kept"] == "yes" for file in backends.files_of(folder / row["file"])]
    if kept:
        openmodeldb.write(model, kept, folder, options.author)
    return result


def _file_name(model: Model, target: str, precision: str) -> str:
    """The name of a file, relative to the folder of the export."""
    if target == "browser":
        return f"{browser.FOLDER}/{browser.MODEL}"
    runtime = TARGETS[target]
    suffix = f"{'' if precision == 'fp32' else f'_{precision}'}{backends.SUFFIXES[runtime]}"
    if runtime == "ncnn":
        return f"{_NCNN_FOLDER}/{ncnn.file_stem(model.name, model.scale)}{suffix}"
    return f"{model.name}{suffix}"


def _failed_row(name: str, runtime: str, precision: str, error: SrkdError, verifier: _Verifier) -> Row:
    """The row of a file that could not be exported or run."""
    row: Row = dict.fromkeys(COLUMNS)
    row |= {"file": name, "runtime": runtime, "precision": precision, "kept": f"no: {error}"}
    return row | {"protocol": verifier.reference["protocol"]}


def _add_sensitivity(found: Quantised, name: str, verifier: _Verifier, result: Exported) -> None:
    """If layers were kept in higher precision: add the sensitivity table, and a row of int8 with all quantised."""
    if found.whole is not None:
        result.sensitivity[name] = found.sensitivity
        row = verifier.row(f"{name}, no layer kept", found.whole, None)
        result.rows.append(row | {"kept": "no: replaced by the next"})


class _Verifier:
    """Compares models with torch fp32 on the evaluation set."""

    def __init__(self, model: Model, options: ExportOptions) -> None:
        self._images: ImagePairs = evaluation_images(options.data, model.scale)
        self._max_drop, self._seconds = options.max_drop, options.seconds
        self._torch = backends.open_engine(model, "torch", "fp32")
        self._exact = self._images.predictions(self._torch)
        self._psnr = self._images.psnr(self._exact)
        self.pairs = pairs_of(self._torch)
        megabytes = sum(p.numel() * p.element_size() for p in model.network.parameters()) / 1e6
        self.reference = self._row(model.name, self._torch, self._exact, megabytes)

    def row(self, name: str, model: Model, megabytes: float | None) -> Row:
        """A row of `COLUMNS`; `kept` is "yes", or "no: " and the reason.

        Raises:
            CannotRunError: the engine cannot run the network, or not at every size.
        """
        check_sizes(model, self._torch, self._images.pairs[0].lr)
        return self._row(name, model, self._images.predictions(model), megabytes)

    def _row(self, name: str, model: Model, predictions: list[Any], megabytes: float | None) -> Row:
        runtime, precision = model.backend
        lowest, largest = closeness(predictions, self._exact)
        psnr = self._images.psnr(predictions)
        kept = "yes"
        if precision == "fp32" and largest > FP32_DIFFERENCE:
            kept = f"no: differs by {largest} levels"
        elif precision == "fp16" and lowest < _MIN_FP16:
            kept = f"no: {lowest:.1f} dB from torch, less than {_MIN_FP16:g}"
        elif self._psnr - psnr > self._max_drop:
            kept = f"no: loses {self._psnr - psnr:.3f} dB, more than {self._max_drop:g}"
        size = None if megabytes is None else round(megabytes, 2)
        ms = round(SpeedMeter(self._seconds).model(model).ms, 2)
        return {
            "file": name,
            "runtime": runtime,
            "precision": precision,
            "largest difference": largest,
            "PSNR to torch (dB)": round(lowest, 2),
            _PSNR.title: round(psnr, _PSNR.digits),
            "drop (dB)": round(self._psnr - psnr, 3),
            "ms": ms,
            "MB": size,
            "kept": kept,
            "protocol": self._images.protocol.as_dict(["psnr"]),
        }


def _write(converted: Any, runtime: str, folder: Path, name: str, verifier: _Verifier) -> Row:
    row: Row = {}

    def accept(saved: Path) -> bool:
        megabytes = sum(file.stat().st_size for file in saved.parent.iterdir()) / 1e6
        opened = backends.open_file(saved)
        row.update(verifier.row(name, opened, megabytes))
        replayed = replay(opened, opened.meta[backends.PROOF], name)
        if row["kept"] == "yes" and not replayed.accepted:
            row["kept"] = f"no: differs by {replayed.largest} levels on its LR/SR pairs"
        return bool(row["kept"] == "yes")

    backends.save(converted, runtime, folder / name, accept)
    return row


def _write_table(result: Exported, folder: Path) -> None:
    parts = [tables.markdown(result.rows, COLUMNS)]
    for name, rows in result.sensitivity.items():
        parts.append(f"Layers of {name}, most sensitive first:\n\n{tables.markdown(rows, SENSITIVITY_COLUMNS)}")
    write_text(folder / "export.md", "\n\n".join(parts) + "\n")
    write_text(folder / "export.json", tables.as_json(result.rows, COLUMNS) + "\n")
