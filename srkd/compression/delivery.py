"""The last phase: measure the finished student and write results.json, the report and the model card."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from srkd.commands.zoo import machine
from srkd.compression import budget, engines, page, subprocess_timing
from srkd.compression.job import Job
from srkd.compression.ladder import Candidate
from srkd.compression.phases import Result
from srkd.compression.prepare import Prepared
from srkd.errors import SrkdError
from srkd.files.atomic import write_json, write_text
from srkd.inference.cost import parameters
from srkd.metrics.evaluation import measure, open_model, open_set
from srkd.networks import zoo
from srkd.sr.report import Details

_TORCH = ("torch", "fp32")
_TIMING_FACTOR = 5  # the final timings take this many times as long as those of candidates


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


def finish(job: Job, prepared: Prepared, trained: TrainedStudent) -> Result:
    """Score and time all models, write results.json, report.html and README.md; returns the content of results.json."""
    file, backend, failure = _delivered(job, prepared)
    details = Details()
    scores = _scores(job, trained, file, backend, details)
    at, seconds = job.request.budget.at, _TIMING_FACTOR * job.settings.timing
    times = {
        "teacher": subprocess_timing.measure(job.teacher_name, _TORCH, at, seconds),
        "student": subprocess_timing.measure(str(file), backend, at, seconds),
    }
    sizes = {"teacher": _file_of(job.teacher_name).stat().st_size / 1e6, "student": _size(file)}
    missed = failure or budget.violation(times["student"]["ms"], sizes["student"], job.request.budget)
    results = {
        "scale": job.request.scale,
        "budget": str(job.request.budget),
        "student": trained.candidate.label,
        "network": trained.candidate.spec,
        "runtime": " ".join(backend),
        "missed": missed,
        "faster": round(times["teacher"]["ms"] / times["student"]["ms"], 1),
        "rows": [_row(job, trained, score, backend, times, sizes) for score in scores],
        "pictures": scores,
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
    }
    write_json(job.out / "results.json", results)
    write_text(job.out / "report.html", page.report(results, details, job.work / "runs"))
    write_text(job.out / "README.md", page.card(results))
    return results


def _delivered(job: Job, prepared: Prepared) -> tuple[Path, engines.Backend, str]:
    """The student's file and backend, and why they are not the planned ones ("" if they are)."""
    try:
        return engines.delivered(job.out, prepared.backend), prepared.backend, ""
    except SrkdError as error:
        return job.out / "student.safetensors", _TORCH, str(error)


def _scores(
    job: Job, trained: TrainedStudent, file: Path, backend: engines.Backend, details: Details
) -> list[dict[str, Any]]:
    """PSNR and SSIM on the held-out crops: {"model", "parameters", "sets"} of each model; the student's delivered file
    is the one scored."""
    scale = job.request.scale
    opened = [open_model("bicubic", scale), replace(open_model(job.teacher_name, scale), name="teacher")]
    count = parameters(trained.candidate.build(scale))
    if "control" in trained.checkpoints:
        control = engines.open_student(Path(trained.checkpoints["control"]["file"]), backend, job.training)
        opened.append(engines.scored("control", control, count))
    opened.append(engines.scored("student", engines.open_delivered(file, backend), count))
    _, store = open_set(str(job.held_out), scale)
    found: list[dict[str, Any]] = measure(opened, [("held-out crops", store)], scale, on_output=details)["models"]
    return found


def _row(
    job: Job, trained: TrainedStudent, score: dict[str, Any], backend: engines.Backend, times: Any, sizes: Any
) -> dict[str, Any]:
    (scores,) = score["sets"].values()
    label = score["model"]
    like = "student" if label == "control" else label  # the same network
    title = {"teacher": f"teacher ({job.teacher.name})", "student": f"student ({trained.candidate.label})"}
    return {
        "model": title.get(label, label),
        "runs on": {"bicubic": "-", "teacher": " ".join(_TORCH)}.get(label, " ".join(backend)),
        "PSNR (dB)": round(scores["psnr"], 3),
        "SSIM": round(scores["ssim"], 4),
        "ms": times[like]["ms"] if like in times else None,
        "file (MB)": round(sizes[like], 3) if like in sizes else None,
        "peak memory (MB)": times[like]["peak MB"] if like in times else None,
        "parameters": score["parameters"] or None,
        "protocol": scores["protocol"]["stamp"],
    }


def _candidate_row(prepared: Prepared, run: dict[str, Any]) -> dict[str, Any]:
    cost = next(cost for candidate, cost in prepared.candidates if candidate.label == run["candidate"])
    return {
        "candidate": run["candidate"],
        "round": run["round"],
        "steps": run["steps"],
        "PSNR (dB)": run["psnr"],
        "ms": round(cost.ms, 2),
        "MB": round(cost.mb, 3),
        "parameters": cost.parameters,
        "why": run.get("why", ""),
    }


def _size(file: Path) -> float:
    """Megabytes that count for the budget: the checkpoint, or for int8 the exported file (.xml and .bin together)."""
    counted = file if "_int8" in file.stem else file.with_name("student.safetensors")
    beside = counted.with_suffix(".bin")
    return (counted.stat().st_size + (beside.stat().st_size if counted.suffix == ".xml" else 0)) / 1e6


def _file_of(name: str) -> Path:
    if name in zoo.external():
        return zoo.fetch(name)
    return Path(name) if Path(name).is_file() else zoo.weights(name)[0]
