"""Runtimes behind one interface: `open_engine(model, runtime, precision)` gives a model that runs on it.

| runtime | precisions | needs |
|---|---|---|
| torch | fp32, bf16 (CPU or GPU) | nothing |
| openvino | fp32, bf16, int8 | the extra `deploy` |
| onnxruntime | fp32, int8 | the extra `deploy` |
| ncnn | fp32, fp16 (storage) | the extra `ncnn` |
| litert | fp32 | the extra `litert` |
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from srkd import edition
from srkd.errors import SrkdError, unknown
from srkd.files.atomic import printable_path, scratch
from srkd.inference.backends import isolated, litert, ncnn, onnx, openvino, pytorch, seal
from srkd.inference.backends.engine import Bytes, CannotRunError, Engine, in_one_line, require
from srkd.inference.model import Model
from srkd.training.precision import int8_saturates

if TYPE_CHECKING:
    from torch import nn

PRECISIONS: dict[str, Sequence[str]] = {
    "torch": tuple(pytorch.PRECISIONS),
    "openvino": openvino.PRECISIONS,
    "onnxruntime": onnx.PRECISIONS,
    "ncnn": ncnn.PRECISIONS,
    "litert": litert.PRECISIONS,
}
_PACKAGES = {
    "torch": ["torch"],
    "openvino": ["openvino"],
    "onnxruntime": ["onnx", "onnxruntime", "onnxscript"],
    "ncnn": ["ncnn", "pnnx"],
    "litert": ["ai_edge_litert", "flatbuffers", "ncnn", "pnnx"],
}
_MODULES: dict[str, ModuleType] = {"openvino": openvino, "onnxruntime": onnx, "ncnn": ncnn, "litert": litert}
_ENGINES: dict[str, Any] = {
    "openvino": openvino.OpenVinoEngine,
    "onnxruntime": onnx.OnnxEngine,
    "ncnn": ncnn.NcnnEngine,
    "litert": litert.LiteRtEngine,
}
__all__ = [
    "CannotRunError",
    "Engine",
    "available",
    "check",
    "check_installed",
    "check_replaceable",
    "converted",
    "files_of",
    "installed",
    "open_engine",
    "open_file",
    "open_own",
    "proved",
    "quantised",
    "readers",
    "save",
    "torch_engine",
    "wrap",
]
_BITS = "weight_bits"
SUFFIXES = {"openvino": ".xml", "onnxruntime": ".onnx", "ncnn": ".param", "litert": ".tflite"}
_BESIDE = {"openvino": (".bin",)}  # files whose digests the seal has; ncnn's have theirs in any case
_READERS = {  # the file's own first
    ".onnx": ("onnxruntime", "openvino"),
    ".xml": ("openvino",),
    ".param": ("ncnn",),
    ".tflite": ("litert",),
}
PROOF, _SEALS = "proof", "seals"  # keys of the facts
_STORED = ("fp32", "fp16", "bf16", "int8")  # precisions of exported files
_MOST_SCALE, _MOST_SIDE = 16, 1024


def available(device: str = "cpu") -> list[tuple[str, str]]:
    """The (runtime, precision) pairs available on this machine; on a GPU only torch.

    Not ncnn's fp16, which saves space in a file and is computed in fp32.
    """
    runtimes = [name for name in PRECISIONS if installed(name)] if device == "cpu" else ["torch"]
    found = [(runtime, precision) for runtime in runtimes for precision in PRECISIONS[runtime] if precision != "fp16"]
    has_int8 = importlib.util.find_spec("nncf") and openvino.int8_is_sound()
    return [backend for backend in found if backend != ("openvino", "int8") or has_int8]


def installed(runtime: str) -> bool:
    """Whether the packages of a runtime are installed."""
    return all(importlib.util.find_spec(package) for package in _PACKAGES[runtime])


def check(runtime: str, precision: str) -> None:
    """Raise SrkdError for an unknown runtime, or a precision that it does not have."""
    if runtime not in PRECISIONS:
        raise unknown("runtime", runtime, PRECISIONS)
    if precision not in PRECISIONS[runtime]:
        having = [name for name, known in PRECISIONS.items() if precision in known]
        instead = f"; {' and '.join(having)} {'have' if having[1:] else 'has'} it" if having else ""
        raise SrkdError(f"{runtime} has {', '.join(PRECISIONS[runtime])}, not {precision}{instead}")


def check_installed(runtime: str) -> None:
    """Raise SrkdError, with the installation command, if the packages of a runtime are not installed."""
    for package in _PACKAGES[runtime]:
        require(package)


def open_engine(
    model: Model, runtime: str, precision: str, calibration: Sequence[Bytes] = (), keep: Collection[str] = ()
) -> Model:
    """The model with the engine of a runtime, fused; torch runs on the model's device, the others on the CPU.

    Args:
        calibration: for int8, uint8 images (H, W, 3) like those to be upscaled; see `srkd.inference.calibration`.
        keep: for int8, layers that stay in higher precision.

    Raises:
        SrkdError: an unknown runtime or precision; a runtime that is not installed (with the command that installs
            it), or that lacks an operator of this network (named); int8 without calibration images.
    """
    check(runtime, precision)
    if runtime == "torch":
        return replace(model, engine=torch_engine(model, precision))
    if precision == "int8" and not calibration:
        raise SrkdError(f"{runtime} int8 needs calibration images, and none were given")
    from srkd.inference.graph import graph_of

    native = converted(graph_of(model.network), runtime, precision, model.facts())
    if precision == "int8":
        native = quantised(native, runtime, calibration, keep)
    return replace(model, engine=_engine(native, runtime, precision, model.scale))


def torch_engine(model: Model, precision: str) -> Engine:
    """A model's network in torch, fused, on its device."""
    return pytorch.TorchEngine(model.network, precision, model.scale, model.device)


def converted(graph: nn.Module, runtime: str, precision: str, known: Mapping[str, Any]) -> Any:
    """Convert a graph (`srkd.inference.graph`) to a runtime's model, with its facts and precision as metadata.

    For int8, call `quantised` on the result. Raises SrkdError as `open_engine`.
    """
    facts: dict[str, Any] = {**known, "precision": precision}
    if precision == "int8":
        facts[_BITS] = 7 if int8_saturates() else 8
    if runtime == "onnxruntime" and isolated.is_needed(graph):
        return isolated.convert(graph, facts)
    return _MODULES[runtime].convert(graph, facts)


def quantised(native: Any, runtime: str, calibration: Sequence[Bytes], keep: Collection[str] = ()) -> Any:
    """Quantise the result of `converted` to static int8; arguments as `open_engine`."""
    with in_one_line(f"{runtime} cannot quantise this network"):
        return _MODULES[runtime].quantise(native, calibration, keep)


def wrap(native: Any, runtime: str, precision: str, known: Mapping[str, Any]) -> Model:
    """A model that runs the result of `converted` or `quantised`, described by its facts (`Model.facts`).

    Raises:
        CannotRunError: the runtime cannot compile it.
    """
    return Model.of_engine(_engine(native, runtime, precision, int(known["scale"])), known)


def _engine(native: Any, runtime: str, precision: str, scale: int) -> Engine:
    with in_one_line(f"{runtime} cannot run this network"):
        engine: Engine = _ENGINES[runtime](native, precision, scale)
        return engine


def proved(native: Any, runtime: str, proof: Mapping[str, Any]) -> Any:
    """The result of `converted` or `quantised` with a proof (`srkd.inference.proof`) in its metadata.

    `save` then seals the file: `open_file` rejects it if any byte was changed.
    """
    module = _MODULES[runtime]
    seals = {_SEALS: seal.opened(_BESIDE.get(runtime, ()))}
    return module.describe(native, {**module.facts_of(native), PROOF: dict(proof), **seals})


def readers(path: Path) -> Sequence[str]:
    """The runtimes that open an exported file, its own first. Raises SrkdError for a file of another suffix."""
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise SrkdError(f"{printable_path(path)}: an exported network is {' or '.join(_READERS)}")
    return _READERS[suffix]


def open_file(path: Path, precision: str | None = None, runtime: str | None = None) -> Model:
    """The model of an exported file (.onnx, .xml, .param, .tflite), by default in the precision it was exported in.

    Args:
        runtime: one of `readers`; by default the one that the file was exported for.

    Raises:
        SrkdError: a file that srkd did not export, or that was changed or is incomplete; a missing package; int8 that
            was exported for other processors.
    """
    own = readers(path)[0]
    if not path.is_file():
        raise SrkdError(f"{path}: no such file")
    native, known = _loaded(path, own)
    if known["precision"] == "int8" and known.get(_BITS, 8) == 8 and int8_saturates():
        raise SrkdError(
            f"{printable_path(path)}: its int8 sums overflow on this processor, which lacks VNNI: export it here"
        )
    if runtime in (None, own):
        return wrap(native, own, precision or known["precision"], known)
    with in_one_line(f"{runtime} cannot open {path.name}"):
        return wrap(openvino.read(path), "openvino", precision or known["precision"], known)


def _loaded(path: Path, runtime: str) -> tuple[Any, dict[str, Any]]:
    """The contents of an exported file and its facts. Raises SrkdError as `open_file`."""
    described = _described(path, runtime)
    sealed = described.is_file() and seal.check(described)
    native, known = _MODULES[runtime].load(path)
    if _SEALS in known and not sealed:
        raise SrkdError(f"{printable_path(described)}: changed or incomplete: its digest is damaged")
    if wrong := _wrong_facts(known):
        raise SrkdError(f"{printable_path(path)}: not exported by srkd, or incomplete: {', '.join(wrong)}")
    return native, known


def _wrong_facts(known: Mapping[str, Any]) -> list[str]:
    """The facts of a file that srkd cannot have written. Sides beyond the limit would pad small images to any size."""

    def whole(value: Any, most: int) -> bool:
        return type(value) is int and 1 <= value <= most

    right = {
        "precision": known.get("precision") in _STORED,
        "scale": whole(known.get("scale"), _MOST_SCALE),
        **{key: whole(known[key], _MOST_SIDE) for key in ("multiple", "minimum", "align") if key in known},
        "square": isinstance(known.get("square", False), bool),
        "halo": known.get("halo") is None or (type(known["halo"]) is int and 0 <= known["halo"] <= _MOST_SIDE),
        "bytes_per_pixel": whole(known.get("bytes_per_pixel", 1), 2**40),
        "parameters": whole(known.get("parameters", 1), 2**40) or known.get("parameters") == 0,
        "network": isinstance(known.get("network", {}), dict),
    }
    return [key for key, is_right in right.items() if not is_right]


def _described(path: Path, runtime: str) -> Path:
    """The file that has the metadata of an exported one."""
    return ncnn.described(path) if runtime == "ncnn" else path


def open_own(path: Path, digest: str) -> Model:
    """The model of an .onnx file that came with this package. It is compared with its SHA-256 instead of checked, which
    would need the package onnx.

    Raises:
        SrkdError: the file is missing or was changed; ONNX Runtime is not installed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SrkdError(f"{printable_path(path)}: {error.strerror}; install {edition.name()} again") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise SrkdError(f"{printable_path(path)}: changed or incomplete (SHA-256); install {edition.name()} again")
    with in_one_line(f"{printable_path(path)} cannot be opened"):
        session, known = onnx.opened(content)
        return wrap(session, "onnxruntime", known["precision"], known)


def files_of(path: Path) -> list[Path]:
    """An exported file and those that belong to it."""
    in_several = path.suffix.lower() in (".xml", ".param")
    beside = [path.with_suffix(".bin"), _described(path, readers(path)[0])] if in_several else []
    return [path, *(file for file in dict.fromkeys(beside) if file != path)]


def check_replaceable(path: Path) -> None:
    """Raise SrkdError if an exported file would replace, by a file beside it, one that srkd did not export.

    A .bin may be a checkpoint of torch, or the weights of an ncnn network that is itself being exported.
    """
    others = [file for file in files_of(path) if file.exists()]
    if others and not _described(path, readers(path)[0]).is_file():
        raise SrkdError(
            f"{printable_path(others[0])}: the export of {path.name} would replace this file, which srkd did not "
            "write; choose another output folder"
        )


def save(native: Any, runtime: str, path: Path, accept: Callable[[Path], bool] = lambda saved: True) -> None:
    """Write the result of `converted` or `quantised`: .onnx, or .xml or .param with the files beside it.

    The files are written to a temporary folder and moved to `path` if `accept`, called with the temporary path, returns
    True.
    """
    with scratch(path.parent) as place:
        try:
            _MODULES[runtime].save(native, place / path.name)
        except Exception as error:  # each runtime's writer raises its native exceptions, few of which state the reason
            message = (str(error).splitlines() or [type(error).__name__])[-1]
            raise SrkdError(f"cannot write {printable_path(path)}: {message}; is the disk full?") from error
        seal.close(_described(place / path.name, runtime))
        if accept(place / path.name):
            path.unlink(missing_ok=True)  # never an old .xml beside a new .bin
            for file in sorted(
                place.iterdir(), key=lambda file: file.name == path.name
            ):  # last, as it needs the others
                os.replace(file, path.with_name(file.name))
