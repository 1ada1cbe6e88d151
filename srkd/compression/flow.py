"""The command from top to bottom. Every step is a stage that is done once (see `stages`), so that it can be resumed."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from srkd.compression import delivery, engines, plan, training
from srkd.compression.halving import SLACK, choose
from srkd.compression.job import Job
from srkd.compression.ladder import Candidate
from srkd.compression.limits import Limits
from srkd.compression.prepare import Prepared, closing, prepare, share
from srkd.compression.request import Request
from srkd.compression.result import Compressed
from srkd.compression.stages import Result
from srkd.errors import SrkdError
from srkd.files.lock import locked
from srkd.files.owned import claim
from srkd.training.checkpoint import load_weights

PLAN_COLUMNS = ["part", "what", "time"]
_FULL = Limits()


def compress(request: Request, out: Path, effort: Limits = _FULL) -> Compressed:
    """Make a student that meets the budget; goes on where an earlier call for the same folder was stopped.

    Args:
        out: gets the student in every format, README.md (its card), report.html, results.json; and `work/`, which may
            be removed afterwards.

    Raises:
        SrkdError: what was asked for cannot be had, as `images.find`, `load_network`, `budget.nothing_fits` and
            `plan.check` say; or the folder was begun with something else, or is not empty and not of srkd.
    """
    claim(out)
    with locked(out / "work"):
        job = Job(request, out, effort)
        prepared = prepare(job)
        job.once("answers", lambda: _prediction(job, prepared), f"{job.teacher.name} answers {prepared.crops_said()}")
        candidate, runs = choose(job, prepared)
        planned = job.once("final_plan", lambda: _final_plan(job, prepared, candidate, runs))
        trained = {"student": _train(job, candidate, planned, distilled=True)}
        if request.control:
            trained["control"] = _train(job, candidate, planned, distilled=False)
        exported = job.once(
            "export", lambda: _export(job, prepared.backend, Path(trained["student"]["file"])), "export"
        )
        made = delivery.Trained(candidate, runs, trained, exported)
        results = job.once("results", lambda: delivery.finish(job, prepared, made), "scores and report")
        return Compressed(out, results)


def rehearse(request: Request, effort: Limits = _FULL) -> list[dict[str, Any]]:
    """What `compress` would do and how long each part would take, measured here in a few seconds; nothing is kept.

    Returns:
        Rows of `PLAN_COLUMNS`.

    Raises:
        SrkdError: as `compress`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        job = Job(request, Path(scratch), effort, dry=True)
        prepared = prepare(job)
        shared, measuring = share(job, prepared, answered=False), job.stages.spent
    names = ", ".join(candidate.label for candidate, _ in prepared.candidates)
    rows = [
        ("measuring", f"{request.budget} on {' '.join(prepared.backend)}: {names}", measuring),
        (f"answers of {job.teacher.name}", prepared.crops_said(), prepared.answering()),
    ]
    for number, each in enumerate(shared.rounds, 1):
        what = f"{each.candidates} candidates, {plan.clock(each.seconds)} each"
        rows.append((f"round {number}", what, each.candidates * each.seconds))
    least, most = (SLACK * shared.student * pace(prepared.rates.values()) for pace in (min, max))
    rows.append(("student", f"{least:,.0f} to {most:,.0f} steps", shared.student))
    if request.control:
        rows.append(("control", "the same without the teacher", shared.control))
    rows.append(("export, report", "files for every runtime, verified", closing(job, prepared)))
    return [dict(zip(PLAN_COLUMNS, (part, what, plan.clock(t)), strict=True)) for part, what, t in rows]


def _prediction(job: Job, prepared: Prepared) -> Result:
    """The teacher's answers, shared by every distilled run."""
    job.say(f"  about {plan.clock(prepared.answering())}")
    began = time.monotonic()
    candidate, _ = prepared.candidates[0]
    training.cache_teacher_outputs(training.recipe(job.lesson, "answers", candidate, 1), job.work)
    return {"seconds": round(time.monotonic() - began, 1)}


def _final_plan(job: Job, prepared: Prepared, candidate: Candidate, runs: list[dict[str, Any]]) -> Result:
    """The student's steps: all that the time allows, at the pace of its last run."""
    own = [run["pace"] for run in runs if run["candidate"] == candidate.label]
    pace = own[-1] if own else prepared.rates[candidate.label]
    seconds = max(job.left - closing(job, prepared), job.effort.shortest) / (2 if job.request.control else 1)
    return {"steps": max(1, int(SLACK * pace * seconds)), "seconds": round(seconds, 1)}


def _train(job: Job, candidate: Candidate, planned: Result, distilled: bool) -> Result:
    name = "student" if distilled else "control"

    def make() -> Result:
        began = time.monotonic()
        data = training.recipe(job.lesson, name, candidate, planned["steps"], distilled)
        file = training.train(data, job.work / "runs")
        return {"file": str(file), "seconds": round(time.monotonic() - began, 1)}

    what = candidate.label if distilled else "the student's twin without the teacher"
    return job.once(name, make, f"{name}: {what}, {planned['steps']:,} steps, {plan.clock(planned['seconds'])}")


def _export(job: Job, backend: engines.Backend, student: Path) -> Result:
    own = job.out / "student.safetensors"
    engines.store(own, *load_weights(student))
    try:
        return {"rows": engines.deliver(own, backend, job.training, job.held_out, job.say)}
    except SrkdError as error:  # the student stands, whatever other runtimes make of it
        job.say(f"notice: not exported: {error}")
        return {"rows": [], "why": str(error)}
