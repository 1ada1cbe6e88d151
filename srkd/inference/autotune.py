"""Chooses the fastest runtime and precision of sufficient accuracy, measured once per model and machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from srkd.errors import SrkdError, unknown
from srkd.files.atomic import write_json
from srkd.files.cache import cache_place
from srkd.inference import backends, quick_start
from srkd.inference.backends.engine import Engine, Fp32FallbackEngine
from srkd.inference.calibration import ImagePairs, calibration_images, check_sizes, closeness
from srkd.inference.fingerprint import fingerprint
from srkd.inference.graph import graph_of
from srkd.inference.model import Model
from srkd.inference.quantise import quantise
from srkd.inference.speed import SpeedMeter
from srkd.inference.stored import intact, read_cached, write_checksums

Row = dict[str, Any]
Say = Callable[[str], None]
Backend = tuple[str, str]
PRECISIONS = ("fp32", "bf16", "int8")
EXACT: Backend = ("torch", "fp32")
_MIN_PSNR = 45.0  # dB to fp32, over all images
_SIDE, _SECONDS = 256, 0.5
_SMALL_SIDE, _FEWEST = 64, 2
_CALIBRATION_SECONDS = 20.0


@dataclass(frozen=True)
class BackendSpec:
    """A runtime and a precision (None: any), and the dB that reduced precision may lose on calibration images.

    Raises:
        SrkdError: an unknown name, a precision that the runtime does not have, or a loss that is not above 0 dB.
    """

    runtime: str | None = None
    precision: str | None = None
    max_drop: float = 0.1

    def __post_init__(self) -> None:
        if not self.max_drop > 0:
            raise SrkdError(f"max_drop must be above 0 dB, got {self.max_drop:g}")
        if self.runtime is not None:
            backends.check(self.runtime, self.precision or "fp32")
        elif self.precision is not None and self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)


def engine_for(model: Model, spec: BackendSpec, say: Say = lambda line: None) -> Engine | None:
    """The engine for `spec`, with a fallback for invalid output; None if it is the network itself (torch fp32).

    If `spec` leaves the runtime or precision open, each candidate not measured on this machine before is measured. The
    fastest is chosen that loses at most `max_drop` dB and has a PSNR to fp32 of at least 45 dB. int8 comes last, and
    its sensitive layers are searched for only if it would be the fastest with all layers quantised. The candidates are
    those of `candidates`.

    Raises:
        SrkdError: a runtime that is not installed (with the command that installs it); no candidate can run this
            network, or each loses too much.
    """
    if spec.runtime is not None:
        backends.check_installed(spec.runtime)
    tuner = Autotuner(model, spec.max_drop, say)
    available = candidates(spec.runtime, spec.precision, model.device.type)
    if not available:
        raise SrkdError(f"no installed runtime has {spec.precision}: pip install 'srkd[deploy]'")
    rows: list[Row] = []
    for backend in available if available != [EXACT] else []:
        to_beat = min((row["ms"] for row in rows if row["good"]), default=None)
        rows.append(tuner.measured(backend, len(available) == 1, to_beat))
    good = [row for row in rows if row["good"]]
    if rows and not good:
        reasons = "; ".join(dict.fromkeys(row["why"] for row in rows))
        raise SrkdError(f"{model.name}: {reasons}; take another --runtime or --precision")
    if not rows:
        return None
    best = min(good, key=lambda row: row["ms"])
    say(f"the fastest is {best['runtime']} {best['precision']}: " + ", ".join(_describe(row) for row in rows))
    backend = (best["runtime"], best["precision"])
    if backend == EXACT:
        return None
    fast = tuner.opened(backend).engine
    assert fast is not None
    return Fp32FallbackEngine(fast, lambda: backends.torch_engine(model, "fp32"), say)


def cached_engine(
    model: Model, say: Say = lambda line: None, name: str | None = None, max_drop: float = BackendSpec.max_drop
) -> Engine | None:
    """As `engine_for` with an open `BackendSpec`, if all candidates were measured before; else None.

    With the name or path that the model was loaded by, and the default `max_drop`, later processes may start without
    torch (`srkd.inference.quick_start`).

    Raises:
        SrkdError: a `max_drop` that is not above 0 dB.
    """
    spec = BackendSpec(max_drop=max_drop)
    tuner = Autotuner(model, max_drop, say)
    known = all(tuner.known(backend) for backend in candidates(device=model.device.type))
    engine = engine_for(model, spec, say) if known else None
    if engine is not None and engine.runtime != "torch" and name is not None and spec == BackendSpec():
        quick_start.remember(name, model, tuner.stored((engine.runtime, engine.precision)), engine)
    return engine


def measured_before(model: Model) -> Row | None:
    """The measurement of the backend that `cached_engine` chooses: {"runtime", "precision", "ms", "side", ...}, where
    `ms` is the time of a square image of `side` pixels; None if not all backends were measured on this machine."""
    tuner = Autotuner(model, BackendSpec().max_drop, lambda line: None)
    rows = [tuner.earlier(backend) for backend in candidates(device=model.device.type)]
    good = [row for row in rows if row is not None and row["good"]]
    return min(good, key=lambda row: row["ms"]) if good and None not in rows else None


def candidates(runtime: str | None = None, precision: str | None = None, device: str = "cpu") -> list[Backend]:
    """The backends to choose among on this machine, int8 last, with the named runtime and precision (None: any).

    ONNX Runtime is among them only if it is named or OpenVINO, which was faster wherever both were measured, is not
    installed; ncnn and litert only if they are named.
    """
    spare = ["ncnn", "litert", *(["onnxruntime"] if backends.installed("openvino") else [])]
    return [
        backend
        for backend in backends.available(device)
        if (backend[0] == runtime or (runtime is None and backend[0] not in spare)) and precision in (None, backend[1])
    ]


def _rejected(backend: Backend, why: str, **more: bool) -> Row:
    return {"runtime": backend[0], "precision": backend[1], "ms": None, "good": False, "why": why, **more}


def _describe(row: Row) -> str:
    name = f"{row['runtime']} {row['precision']}"
    return f"{name} {row['ms']:.1f} ms" if row["good"] else f"{name} rejected ({row['why']})"


class Autotuner:
    """Builds engines of a model, measures them, and caches both."""

    def __init__(self, model: Model, max_drop: float, say: Say) -> None:
        self._model, self._max_drop, self._say = model, max_drop, say
        self._folder = cache_place("runtimes", fingerprint(model))
        self._facts = model.facts()
        self._rows: dict[str, Row] = read_cached(self._folder / "measured.json")

    def known(self, backend: Backend, among_others: bool = True) -> bool:
        """Whether a backend was measured; with `among_others`, also if only as slower than another one."""
        row = self._rows.get(self._name(backend))
        return row is not None and (among_others or not row.get("left"))

    def earlier(self, backend: Backend) -> Row | None:
        """The measurement of a backend by this or an earlier process, if any."""
        return self._rows.get(self._name(backend))

    def measured(self, backend: Backend, named: bool, to_beat: float | None) -> Row:
        """The measurement of a backend, now or before; a failure is recorded as not good, or raised if `named`.

        `to_beat` is the time in ms of the fastest good backend so far, if any: slower int8 is not measured further.
        """
        if not self.known(backend, to_beat is not None):
            self._say(f"measuring {' '.join(backend)} for {self._model.name}, once on this machine")
            try:
                self._rows[self._name(backend)] = self._slower(backend, to_beat) or self._measure(backend)
            except SrkdError as error:
                if named:
                    raise
                self._rows[self._name(backend)] = _rejected(backend, str(error))
            with suppress(SrkdError, OSError):  # an unwritable cache is no reason to fail
                write_json(self._folder / "measured.json", self._rows)
        return self._rows[self._name(backend)]

    def _name(self, backend: Backend) -> str:
        """The key of a measurement, which is judged by `max_drop`: another one has measurements of its own."""
        default = backend == EXACT or (backend[1] != "int8" and self._max_drop == BackendSpec.max_drop)
        return f"{backend[0]}-{backend[1]}" + ("" if default else f"-{self._max_drop!r}")

    def _slower(self, backend: Backend, to_beat: float | None) -> Row | None:
        """The row of int8 that is too slow even with all layers quantised; None if the full measurement is needed."""
        if backend[1] != "int8" or to_beat is None or self.stored(backend).is_file():
            return None
        ms = self._ms(backends.open_engine(self._model, *backend, calibration=self._images.inputs))
        return None if ms < to_beat else _rejected(backend, f"{ms:.1f} ms, no faster", left=True)

    def _measure(self, backend: Backend) -> Row:
        model = self.opened(backend)
        check_sizes(model, self._torch, self._images.pairs[0].lr)
        predictions = self._images.predictions(model)
        drop = self._images.pooled_psnr(self._exact) - self._images.pooled_psnr(predictions)
        lowest, _ = closeness([np.concatenate(predictions, None)], [np.concatenate(self._exact, None)])
        good = backend == EXACT or (drop <= self._max_drop and lowest >= _MIN_PSNR)
        why = f"loses {drop:.3f} dB, {lowest:.1f} dB from fp32"
        row = {"runtime": backend[0], "precision": backend[1], "ms": round(self._ms(model), 2), "side": self._side}
        return row | {"drop": round(drop, 4), "good": good, "why": why}

    def _ms(self, model: Model) -> float:
        return SpeedMeter(_SECONDS).model(model, (self._side, self._side)).ms

    @cached_property
    def _side(self) -> int:
        """The side that all backends of the model are timed at: that of earlier measurements, so that they compare."""
        earlier = [row.get("side", _SIDE) for row in self._rows.values() if row.get("ms") is not None]
        return earlier[0] if earlier else _SIDE if self._affordable >= _SIDE**2 else _SMALL_SIDE

    @cached_property
    def _images(self) -> ImagePairs:
        """Calibration images: of a slow network few and small ones, so that measuring takes seconds and not minutes."""
        images = calibration_images(self._model.scale)
        if self._affordable >= sum(pair.lr.shape[0] * pair.lr.shape[1] for pair in images.pairs):
            return images
        return images.smaller(_SMALL_SIDE, max(_FEWEST, int(self._affordable / _SMALL_SIDE**2)), self._model.scale)

    @cached_property
    def _affordable(self) -> float:
        """How many input pixels the network itself computes in `_CALIBRATION_SECONDS`."""
        image = np.zeros((1, _SMALL_SIDE, _SMALL_SIDE, 3), np.uint8)
        seconds = SpeedMeter().once(lambda: self._torch(image))
        return _CALIBRATION_SECONDS * _SMALL_SIDE**2 / max(seconds, 1e-9)

    @cached_property
    def _exact(self) -> list[Any]:
        return self._images.predictions(self._torch)

    @cached_property
    def _torch(self) -> Model:
        return backends.open_engine(self._model, *EXACT)

    def opened(self, backend: Backend) -> Model:
        """The model on a backend, whose engine comes from the cache if it was built before."""
        runtime, precision = backend
        if runtime == "torch":
            return backends.open_engine(self._model, runtime, precision)
        path = self.stored(backend)
        if intact(path):
            with suppress(SrkdError):
                return backends.open_file(path, precision)
        converted = self._build(runtime, precision)
        with suppress(SrkdError, OSError):
            backends.save(converted, runtime, path)
            write_checksums(path)
        return backends.wrap(converted, runtime, precision, self._facts)

    def stored(self, backend: Backend) -> Path:
        """Where the engine of a backend is stored, once it has been opened."""
        runtime, precision = backend
        kind = self._name(backend) if precision == "int8" else runtime  # bf16 runs the fp32 file
        return self._folder / f"{kind}{backends.SUFFIXES[runtime]}"

    def _build(self, runtime: str, precision: str) -> Any:
        graph = graph_of(self._model.network)
        if precision == "int8":
            found = quantise(graph, runtime, self._facts, self._images, self._max_drop, self._say)
            return found.converted
        return backends.converted(graph, runtime, precision, self._facts)
