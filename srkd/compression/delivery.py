"""What comes last: the student measured afresh in every way, and results.json, the report and the card written."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from srkd.commands.zoo import machine
from srkd.compression import budget, engines, page, subprocess_timing
from srkd.compression.job import Job
from srkd.compression.ladder import Candidate
from srkd.compression.prepare import Prepared
from srkd.compression.stages import Result
from srkd.errors import SrkdError
from srkd.files.atomic import write_json, write_text
from srkd.inference.cost import parameters
from srkd.metrics.evaluation import measure, open_model, open_set
from srkd.networks import zoo
from srkd.sr.report import Details

_TORCH = ("torch", "fp32")
_LONGER = 5  # times as long as candidates are measured


@dataclass(frozen=True)
class Trained:
    """What was trained and exported: the chosen candidate, a row for each run of the rounds, {"student", "control"}:
    {"file", "seconds"}, and the stage `export`."""

    candidate: Candidate
    runs: list[dict[str, Any]]
    trained: dict[str, Result]
    exported: Result


def finish(job: Job, prepared: Prepared, made: Trained) -> Result:
    """Score and time everything, write results.json, report.html and README.md, and return what results.json holds."""
    file, backend, refused = _delivered(job, prepared)
    details = Details()
    scores = _scores(job, made, file, backend, details)
    at, seconds = job.request.budget.at, _LONGER * job.effort.timing
    times = {
        "teacher": subprocess_timing.measure(job.teacher_name, _TORCH, at, seconds),
        "student": subprocess_timing.measure(str(file), backend, at, seconds),
    }
    sizes = {"teacher": _file_of(job.teacher_name).stat().st_size / 1e6, "student": _size(file)}
    missed = refused or budget.missed(times["student"]["ms"], sizes["student"], job.request.budget)
    results = {
        "scale": job.request.scale,
        "budget": str(job.request.budget),
        "student": made.candidate.label,
        "network": made.candidate.spec,
        "runtime": " ".join(backend),
        "missed": missed,
        "faster": round(times["teacher"]["ms"] / times["student"]["ms"], 1),
        "rows": [_row(job, made, score, backend, times, sizes) for score in scores],
        "pictures": scores,
        "candidates": [_tried(prepared, run) for run in made.runs],
        "fitting": [{"candidate": c.label, **asdict(cost)} for c, cost in prepared.candidates],
        "refused": prepared.refused,
        "runtimes": prepared.available,
        "files": made.exported["rows"],
        "not exported": made.exported.get("why", ""),
        "crops": prepared.crops,
        "said": prepared.crops_said(),
        "steps": (job.stages.done("final_plan") or {})["steps"],
        "seconds": round(job.stages.spent),
        "seconds given": job.request.seconds,
        "machine": machine(),
        "request": job.request.identity(),
    }
    write_json(job.out / "results.json", results)
    write_text(job.out / "report.html", page.report(results, details, job.work / "runs"))
    write_text(job.out / "README.md", page.card(results))
    return results


def _delivered(job: Job, prepared: Prepared) -> tuple[Path, engines.Backend, str]:
    """The file that the student is used from, how, and why it is not the one that was aimed at ("" where it is)."""
    try:
        return engines.delivered(job.out, prepared.backend), prepared.backend, ""
    except SrkdError as error:
        return job.out / "student.safetensors", _TORCH, str(error)


def _scores(job: Job, made: Trained, file: Path, backend: engines.Backend, details: Details) -> list[dict[str, Any]]:
    """PSNR and SSIM on the held-out crops, {"model", "parameters", "sets"} each; the student as it is delivered."""
    scale = job.request.scale
    opened = [open_model("bicubic", scale), replace(open_model(job.teacher_name, scale), name="teacher")]
    count = parameters(made.candidate.build(scale))
    if "control" in made.trained:
        control = engines.open_student(Path(made.trained["control"]["file"]), backend, job.training)
        opened.append(engines.scored("control", control, count))
    opened.append(engines.scored("student", engines.open_delivered(file, backend), count))
    _, store = open_set(str(job.held_out), scale)
    found: list[dict[str, Any]] = measure(opened, [("held-out crops", store)], scale, on_output=details)["models"]
    return found


def _row(
    job: Job, made: Trained, score: dict[str, Any], backend: engines.Backend, times: Any, sizes: Any
) -> dict[str, Any]:
    (scores,) = score["sets"].values()
    label = score["model"]
    like = "student" if label == "control" else label  # the same network
    title = {"teacher": f"teacher ({job.teacher.name})", "student": f"student ({made.candidate.label})"}
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


def _tried(prepared: Prepared, run: dict[str, Any]) -> dict[str, Any]:
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
    """Megabytes by which the budget goes: the checkpoint's; of int8 the exported network's (an .xml has a .bin)."""
    counted = file if "_int8" in file.stem else file.with_name("student.safetensors")
    beside = counted.with_suffix(".bin")
    return (counted.stat().st_size + (beside.stat().st_size if counted.suffix == ".xml" else 0)) / 1e6


def _file_of(name: str) -> Path:
    if name in zoo.external():
        return zoo.fetch(name)
    return Path(name) if Path(name).is_file() else zoo.weights(name)[0]
