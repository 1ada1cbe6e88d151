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
from srkd.executor import Executor
from srkd.files.atomic import printable_path
from srkd.files.owned import claim
from srkd.imitation.bank import SHARD
from srkd.imitation.task import Task as Imitation
from srkd.imitation.task import held_out
from srkd.imitation.teachers import OutputTeacher
from srkd.inference.autotune import Backend
from srkd.training.checkpoint import load_weights
from srkd.training.log import Progress
from srkd.training.processes import say
from srkd.training.run import Run
from srkd.training.task import OutOfTimeError

PLAN_COLUMNS = ["part", "what", "time"]
_FULL = Settings()
_LATE, _STARTING = 1.5, 30.0  # times the planned time, and seconds, after which no more outputs are imitated


def compress(request: Request, out: Path, settings: Settings = _FULL, executor: Executor | None = None) -> Compressed:
    """Train a student that meets the budget; resumes an earlier call for the same folder that was stopped.

    Args:
        out: output folder: the student in every format, README.md (model card), report.html, results.json and `work/`,
            which may be deleted afterwards.
        executor: where the candidates of a round are trained at the same time; None: here, one after another.

    Raises:
        SrkdError: as `photos.find`, `load_model`, `candidates.nothing_fits` and `rounds.check`; or the folder was
            started with another request, or is not empty and not from srkd.
    """
    job = CompressionJob(request, out, settings, executor=executor)
    claim(out)
    with job.begun():
        job.executor.require(job.work)
        prepared = prepare(job)
        outputs = job.once(
            "answers",
            lambda: _cache_outputs(job, prepared),
            f"outputs of {job.teacher.name} for {prepared.describe_crops()}",
        )
        _check_teacher(job, outputs)
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
        with job.begun():
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
    data = recipe(job, "answers", candidate, 1)
    made: Result = {}
    if job.request.imitate:
        data["datasets"]["val"] = {"name": "held-out", "dataroot_gt": str(job.held_out)}
        made = _build_bank(Run(data, job.work), began + _LATE * prepared.teacher_seconds() + _STARTING)
    else:
        Run(data, job.work).set_up()
    return {"seconds": round(time.monotonic() - began, 1), **made}


def _build_bank(run: Run, deadline: float) -> Result:
    """Compute the outputs that are imitated, until the deadline (on `time.monotonic()`'s clock)."""
    (task,) = run.dry_run()
    assert isinstance(task, Imitation)
    bank, sets = task.bank, held_out(task.recipe, task.output_teacher)
    with Progress("teacher's outputs", bank.count) as progress:
        try:
            bank.build(progress.update, deadline)
        except OutOfTimeError as late:
            say(f"notice: {late}")
    patches = min(bank.missing() or [bank.count // SHARD]) * SHARD
    if not patches:
        raise SrkdError(f"--time is too short: {bank.teacher.name} is too slow for {SHARD} patches; give more time")
    for each in sets.values():
        with Progress("held-out images", len(each.images)) as progress:
            each.build(progress.update)
    folder = sets["val"].folder
    return {"patches": patches, "held out": f"{folder / 'hr'}:{folder / 'lr'}", "teacher": task.output_teacher.digest}


def _check_teacher(job: CompressionJob, outputs: Result) -> None:
    """Raise SrkdError if the outputs are another teacher's, whose file was replaced since."""
    if isinstance(job.teacher, OutputTeacher) and outputs["teacher"] != job.teacher.digest:
        raise SrkdError(
            f"{printable_path(job.work / 'answers')}: outputs of another teacher than {job.teacher.name} is now; "
            "restore its file, or choose another --output"
        )


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
        return {"rows": finish.deliver(path, backend, job.training, job.judged, say)}
    except SrkdError as error:  # the checkpoint remains usable
        say(f"notice: not exported: {error}")
        return {"rows": [], "why": str(error)}
