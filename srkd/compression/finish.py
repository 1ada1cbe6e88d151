"""The end of a compression: the student is exported and verified, scored and timed, and the results are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from srkd.compression import page
from srkd.compression.candidates import Candidate, violation
from srkd.compression.job import CompressionJob, Result
from srkd.data.like import like
from srkd.data.sets import open_set
from srkd.errors import SrkdError
from srkd.files.atomic import write_json, write_text
from srkd.imitation.teachers import open_teacher
from srkd.inference import backends
from srkd.inference.autotune import EXACT, Backend, BackendSpec
from srkd.inference.calibration import calibration_images
from srkd.inference.export import TARGETS, ExportOptions, Row, export
from srkd.inference.loading import file_of
from srkd.inference.model import Model
from srkd.inference.speed import SpeedMeter, in_subprocess, machine, noise, speed_and_memory, with_peak_memory
from srkd.metrics import registry
from srkd.metrics.evaluation import measure, open_model
from srkd.metrics.psnr import pooled
from srkd.metrics.registry import rounded, titles
from srkd.sr.report import Details
from srkd.training.checkpoint import save_weights
from srkd.training.processes import say

if TYPE_CHECKING:
    from srkd.compression.measure import Prepared

_TIMING_FACTOR = 5  # the final timings take this many times as long as those of candidates
_PERCEPTUAL = "efficientnet"  # a metric
_CALIBRATION = 24  # images at most
_SMALL = 16  # side of an image on which a runtime starts


@dataclass(frozen=True)
class Compressed:
    """A finished compression: its folder and the content of its results.json.

    `results`: "rows" (bicubic, teacher, control, student), "budget", "missed" (why the student exceeds its budget, or
    ""), "faster" (speed-up over the teacher), "candidates" (all training runs), "refused" (candidates that do not fit,
    and why), "files" (exported files and their verification), "steps", "seconds" and the other data of the report.
    """

    folder: Path
    results: dict[str, Any]

    @cached_property
    def student(self) -> Model:
        """The student, ready to upscale."""
        return Model.load(self.folder / "student.safetensors")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table of the report."""
        return list(self.results["rows"])

    @property
    def within_budget(self) -> bool:
        """Whether the finished student meets the budget, by the final measurement."""
        return not self.results["missed"]


@dataclass(frozen=True)
class TrainedStudent:
    """The chosen student after training and export.

    Args:
        candidate: the chosen candidate.
        runs: a row for each training run of the halving rounds.
        checkpoints: "student" and, if trained, "control", each {"file", "seconds"}.
        exported: result of the phase `export`.
    """

    candidate: Candidate
    runs: list[dict[str, Any]]
    checkpoints: dict[str, Result]
    exported: Result


def finish(job: CompressionJob, prepared: Prepared, trained: TrainedStudent) -> Result:
    """Score and time all models, write results.json, report.html and README.md; returns the content of results.json."""
    file, backend, failure = _delivered(job, prepared)
    details = Details()
    scores = _scores(job, trained, file, backend, details)
    at, seconds = job.request.budget.at, _TIMING_FACTOR * job.settings.timing
    times = {
        "teacher": in_subprocess(teacher_speed, job.teacher_spec, at, seconds)
        if job.request.imitate
        else in_subprocess(speed_and_memory, job.teacher_name, EXACT, at, seconds),
        "student": in_subprocess(speed_and_memory, str(file), backend, at, seconds),
    }
    sizes = {"teacher": file_of(job.teacher_name).stat().st_size / 1e6, "student": _size(file)}
    missed = failure or violation(times["student"]["ms"], sizes["student"], job.request.budget)
    stamp = {"protocol": next(iter(scores["student"]["sets"].values()))["protocol"]["stamp"]}
    labels = ["bicubic", "teacher", *(["control"] if "control" in scores else []), "student"]
    results = {
        "scale": job.request.scale,
        "budget": str(job.request.budget),
        "student": trained.candidate.label,
        "network": trained.candidate.spec,
        "runtime": " ".join(backend),
        "missed": missed,
        "faster": round(times["teacher"]["ms"] / times["student"]["ms"], 1),
        "rows": [_row(job, trained, label, scores.get(label), backend, times, sizes) | stamp for label in labels],
        "images": list(scores.values()),
        "candidates": [_candidate_row(prepared, run) for run in trained.runs],
        "fitting": [{"candidate": c.label, **asdict(cost)} for c, cost in prepared.candidates],
        "refused": prepared.rejected,
        "runtimes": prepared.available,
        "files": trained.exported["rows"],
        "not exported": trained.exported.get("why", ""),
        "crops": prepared.crops,
        "said": prepared.describe_crops(),
        "steps": (job.phases.done("final_plan") or {})["steps"],
        "seconds": round(job.phases.spent),
        "seconds given": job.request.seconds,
        "machine": machine(),
        "request": job.request.identity(),
        **({"like": str(like(job.request.like))} if job.request.like else {}),
    }
    write_json(job.out / "results.json", results)
    write_text(job.out / "report.html", page.report(results, details, job.work / "runs"))
    write_text(job.out / "README.md", page.card(results))
    return results


def _delivered(job: CompressionJob, prepared: Prepared) -> tuple[Path, Backend, str]:
    """The student's file and backend, and why it could not be exported ("" if it was); fp32 in place of bf16 that loses
    too much."""
    try:
        file = delivered(job.out, prepared.backend)
    except SrkdError as error:
        return job.out / "student.safetensors", EXACT, str(error)
    runtime, precision = prepared.backend
    why = loss_in_bf16(file, runtime, job.judged) if precision == "bf16" else ""
    if why:
        say(f"notice: the student runs in fp32, not in bf16: {why}")
    return file, (runtime, "fp32" if why else precision), ""


def loss_in_bf16(file: Path, runtime: str, judged: str) -> str:
    """Why a delivered file must not run in bf16, of whose 8 bits wide networks with large features may need more; "" if
    it may. int8 is verified when it is exported.

    Args:
        judged: a data set as `open_set` takes it.
    """
    exact, reduced = (open_delivered(file, (runtime, precision)) for precision in ("fp32", "bf16"))
    sets = [open_set(judged, exact.scale)]
    try:
        rows = measure([exact, reduced], sets, exact.scale, metrics=["psnr"])["models"]
    except SrkdError as error:  # overflow
        return str(error)
    before, after = (pooled([image["psnr"] for image in row["sets"][sets[0][0]]["images"]]) for row in rows)
    return "" if after >= before - BackendSpec().max_drop else f"it loses {before - after:.2f} dB"


def _scores(
    job: CompressionJob, trained: TrainedStudent, file: Path, backend: Backend, details: Details
) -> dict[str, Result]:
    """PSNR and SSIM on the held-out crops: {"model", "parameters", "sets"} by label; the student's delivered file is
    the one scored. A teacher that is imitated is itself what the others are compared with."""
    scale = job.request.scale
    opened = [open_model("bicubic", scale)]
    if not job.request.imitate:
        opened.append(replace(open_model(job.teacher_name, scale), name="teacher"))
    if "control" in trained.checkpoints:
        control = open_student(Path(trained.checkpoints["control"]["file"]), backend, job.training)
        opened.append(replace(control, name="control"))
    opened.append(replace(open_delivered(file, backend), name="student"))
    _, store = open_set(job.judged, scale)
    sets = [("held-out crops", store)]
    found = measure(opened, sets, scale, metrics=_metrics(job), on_output=details)["models"]
    return {row["model"]: row for row in found}


def _metrics(job: CompressionJob) -> list[str]:
    """The default metrics, and for an imitation a perceptual distance, if its weights can be had."""
    found = [*registry.DEFAULT]
    if job.request.imitate:
        try:
            registry.get(_PERCEPTUAL).check()
            found.append(_PERCEPTUAL)
        except SrkdError as error:
            say(f"notice: without the perceptual distance: {error}")
    return found


def teacher_speed(spec: dict[str, str], at: tuple[int, int], seconds: float) -> dict[str, Any]:
    """{"ms", "peak MB", "runtime"} of a teacher that is imitated, on the fastest runtime for it."""
    teacher = open_teacher(spec)
    teacher(noise(_SMALL, _SMALL))  # starts its runtime
    return with_peak_memory(lambda: SpeedMeter(seconds).model(teacher, at)) | {"runtime": teacher.runtime}


def _row(
    job: CompressionJob,
    trained: TrainedStudent,
    label: str,
    score: Result | None,
    backend: Backend,
    times: Any,
    sizes: Any,
) -> Result:
    """A row of `page.columns`; without scores for a teacher that is imitated."""
    same = "student" if label == "control" else label  # the same network
    title = {"teacher": f"teacher ({job.teacher.name})", "student": f"student ({trained.candidate.label})"}
    scores = next(iter(score["sets"].values())) if score else {}
    runtime = {"bicubic": "-", "teacher": times["teacher"].get("runtime", " ".join(EXACT))}
    return {
        "model": title.get(label, label),
        "runs on": runtime.get(label, " ".join(backend)),
        **(rounded(scores) if score else dict.fromkeys(titles())),
        "ms": times[same]["ms"] if same in times else None,
        "file (MB)": round(sizes[same], 3) if same in sizes else None,
        "peak memory (MB)": times[same]["peak MB"] if same in times else None,
        "parameters": score["parameters"] or None if score else None,
    }


def _candidate_row(prepared: Prepared, run: dict[str, Any]) -> dict[str, Any]:
    cost = next(cost for candidate, cost in prepared.candidates if candidate.label == run["candidate"])
    return {
        "candidate": run["candidate"],
        "round": run["round"],
        "steps": run["steps"],
        page.QUALITY: run["psnr"],
        **cost.row(),
        "why": run.get("why", ""),
    }


def _size(file: Path) -> float:
    """Megabytes that count for the budget: the checkpoint, or for int8 the exported file (.xml and .bin together)."""
    counted = file if "_int8" in file.stem else file.with_name("student.safetensors")
    beside = counted.with_suffix(".bin")
    return (counted.stat().st_size + (beside.stat().st_size if counted.suffix == ".xml" else 0)) / 1e6


def store(path: Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint with half-precision weights: half the size, at a rounding error far below one grey level."""
    halved = {name: weight.half() if weight.is_floating_point() else weight for name, weight in weights.items()}
    save_weights(path, halved, meta)


def megabytes(folder: Path) -> float:
    """Megabytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def open_student(path: Path, backend: Backend, training: Path) -> Model:
    """Open a checkpoint on a backend for scoring; int8 is calibrated on training crops with all layers quantised."""
    model = Model.load(path)
    if backend[1] != "int8":
        return backends.open_engine(model, *backend)
    return backends.open_engine(
        model, *backend, calibration_images(model.scale, str(training), _count(training)).inputs
    )


def _count(training: Path) -> int:
    return min(len(list(training.glob("*.png"))), _CALIBRATION)


def deliver(
    student: Path, backend: Backend, training: Path, held_out: str | Path, say: Callable[[str], None]
) -> list[Row]:
    """Export a student next to its checkpoint and verify each file on the held-out set, as `open_set` takes it.

    fp32 is exported for ONNX Runtime and OpenVINO if installed. int8 takes long and is exported for one runtime only:
    that of `backend`, or else the first that supports int8.

    Returns:
        Rows of `srkd.inference.export.COLUMNS`, the student in torch first.

    Raises:
        SrkdError: as `srkd.inference.export.export`.
    """
    int8_runtimes = [
        runtime for runtime, precision in sorted(backends.available(), key=backend.__ne__) if precision == "int8"
    ]
    targets = {target: TARGETS[target] for target in ExportOptions.targets if backends.installed(TARGETS[target])}
    rows: list[Row] = []
    for names, precision in (
        (list(targets), "fp32"),
        ([t for t, r in targets.items() if r in int8_runtimes[:1]], "int8"),
    ):
        if names:
            wanted = ExportOptions(names, [precision], True, str(held_out), str(training), _count(training))
            rows += export(Model.load(student), student.parent, wanted, say).rows[1 if rows else 0 :]
            for table in ("export.md", "export.json"):  # they list only these files; card and report list all
                (student.parent / table).unlink()
    return rows


def delivered(folder: Path, backend: Backend) -> Path:
    """The student's file for a backend, in the folder that `deliver` wrote.

    Raises:
        SrkdError: that file was not exported.
    """
    runtime, precision = backend
    suffix = "_int8" if precision == "int8" else ""
    path = folder / f"student{suffix}{backends.SUFFIXES.get(runtime, '.safetensors')}"
    if not path.is_file():
        raise SrkdError(f"{path.name} was not exported; README.md in {folder} says why")
    return path


def open_delivered(path: Path, backend: Backend) -> Model:
    """Open a delivered file; on torch also a zoo name or any checkpoint."""
    if backend[0] == "torch":
        return backends.open_engine(Model.load(str(path)), *backend)
    return backends.open_file(path, backend[1])
