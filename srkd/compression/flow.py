"""The command from start to end. Each part is a phase that runs once (see `job`), so the command can be resumed."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srkd.compression import finish
from srkd.compression.candidates import Candidate
from srkd.compression.finish import Compressed
from srkd.compression.job import CompressionJob, Result, clock
from srkd.compression.measure import Prepared, closing, prepare, share
from srkd.compression.request import Request, Settings
from srkd.compression.rounds import SLACK, Round, choose, recipe, train
from srkd.errors import SrkdError
from srkd.files.lock import locked
from srkd.files.owned import claim
from srkd.inference.autotune import Backend
from srkd.training.checkpoint import load_weights
from srkd.training.processes import say
from srkd.training.run import Run

PLAN_COLUMNS = ["part", "what", "time"]
_FULL = Settings()


def compress(request: Request, out: Path, settings: Settings = _FULL) -> Compressed:
    """Train a student that meets the budget; resumes an earlier call for the same folder that was stopped.

    Args:
        out: output folder: the student in every format, README.md (model card), report.html, results.json and `work/`,
            which may be deleted afterwards.

    Raises:
        SrkdError: as `photos.find`, `load_model`, `candidates.nothing_fits` and `rounds.check`; or the folder was
            started with another request, or is not empty and not from srkd.
    """
    claim(out)
    with locked(out / "work"):
        job = CompressionJob(request, out, settings)
        prepared = prepare(job)
        job.once(
            "answers",
            lambda: _cache_outputs(job, prepared),
            f"outputs of {job.teacher.name} for {prepared.describe_crops()}",
        )
        planned = job.once("rounds", lambda: asdict(share(job, prepared, outputs_cached=True)))
        candidate, runs = choose(job, prepared, [Round(**each) for each in planned["rounds"]])
        planned = job.once("final_plan", lambda: _final_plan(job, prepared, candidate, runs))
        checkpoints = {"student": _train(job, candidate, planned, distilled=True)}
        if request.control:
            checkpoints["control"] = _train(job, candidate, planned, distilled=False)
        exported = job.once(
            "export", lambda: _export(job, prepared.backend, Path(checkpoints["student"]["file"])), "export"
        )
        trained = finish.TrainedStudent(candidate, runs, checkpoints, exported)
        results = job.once("results", lambda: finish.finish(job, prepared, trained), "scores and report")
        return Compressed(out, results)


def dry_run(request: Request, settings: Settings = _FULL) -> list[dict[str, Any]]:
    """The plan of `compress` and the time of each part, measured on this machine in a few seconds. Keeps no files.

    Returns:
        Rows of `PLAN_COLUMNS`.

    Raises:
        SrkdError: as `compress`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        job = CompressionJob(request, Path(scratch), settings, dry_run=True)
        prepared = prepare(job)
        shared, measuring = share(job, prepared, outputs_cached=False), job.phases.spent
    names = ", ".join(f"{candidate.label} ({cost})" for candidate, cost in prepared.candidates)
    rows = [
        ("measuring", f"{request.budget} on {' '.join(prepared.backend)}: {names}", measuring),
        (f"outputs of {job.teacher.name}", prepared.describe_crops(), prepared.teacher_seconds()),
    ]
    for number, each in enumerate(shared.rounds, 1):
        what = f"{each.candidates} candidates, {clock(each.seconds)} each"
        rows.append((f"round {number}", what, each.candidates * each.seconds))
    least, most = (SLACK * shared.student * pace(prepared.rates.values()) for pace in (min, max))
    rows.append(("student", f"{least:,.0f} to {most:,.0f} steps", shared.student))
    if request.control:
        rows.append(("control", "the same without the teacher", shared.control))
    rows.append(("export, report", "files for every runtime, verified", closing(job, prepared)))
    return [dict(zip(PLAN_COLUMNS, (part, what, clock(t)), strict=True)) for part, what, t in rows]


def _cache_outputs(job: CompressionJob, prepared: Prepared) -> Result:
    """Compute the teacher's outputs, which all distilled runs share."""
    say(f"  about {clock(prepared.teacher_seconds())}")
    began = time.monotonic()
    candidate, _ = prepared.candidates[0]
    Run(recipe(job, "answers", candidate, 1), job.work).set_up()
    return {"seconds": round(time.monotonic() - began, 1)}


def _final_plan(job: CompressionJob, prepared: Prepared, candidate: Candidate, runs: list[dict[str, Any]]) -> Result:
    """The student's number of steps: as many as the time allows at the speed of its last run."""
    own = [run["pace"] for run in runs if run["candidate"] == candidate.label]
    pace = own[-1] if own else prepared.rates[candidate.label]
    seconds = max(job.left - closing(job, prepared), job.settings.shortest) / (2 if job.request.control else 1)
    return {"steps": max(1, int(SLACK * pace * seconds)), "seconds": round(seconds, 1)}


def _train(job: CompressionJob, candidate: Candidate, planned: Result, distilled: bool) -> Result:
    name = "student" if distilled else "control"

    def make() -> Result:
        began = time.monotonic()
        file = train(recipe(job, name, candidate, planned["steps"], distilled), job.work / "runs")
        return {"file": str(file), "seconds": round(time.monotonic() - began, 1)}

    what = candidate.label if distilled else "the same network without the teacher"
    return job.once(name, make, f"{name}: {what}, {planned['steps']:,} steps, {clock(planned['seconds'])}")


def _export(job: CompressionJob, backend: Backend, student: Path) -> Result:
    path = job.out / "student.safetensors"
    finish.store(path, *load_weights(student))
    try:
        return {"rows": finish.deliver(path, backend, job.training, job.held_out, say)}
    except SrkdError as error:  # the checkpoint remains usable
        say(f"notice: not exported: {error}")
        return {"rows": [], "why": str(error)}
