"""Choose the student by successive halving (Jamieson & Talwalkar, AISTATS 2016): after each round the better half of
the candidates remains.

Each round trains from the start, because a finished cosine schedule cannot be continued. Within a round all candidates
get equal time.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srkd.compression import engines, plan, training
from srkd.compression.job import Job
from srkd.compression.ladder import Candidate
from srkd.compression.phases import Result
from srkd.compression.prepare import Prepared, share
from srkd.errors import SrkdError
from srkd.metrics.evaluation import measure, open_set

SLACK = 0.93  # share of the time left for training steps; the rest is for starting, saving and scoring a run


def choose(job: Job, prepared: Prepared) -> tuple[Candidate, list[dict[str, Any]]]:
    """The best candidate on the held-out crops, and a row per run: candidate, round, steps, psnr (dB), pace (steps/s).

    Raises:
        SrkdError: no candidate could be trained.
    """
    rounds = job.once("rounds", lambda: asdict(share(job, prepared, outputs_cached=True)))["rounds"]
    remaining, rows = [candidate for candidate, _ in prepared.candidates], list[dict[str, Any]]()
    for number, each in enumerate(rounds, 1):
        ran = [
            {"candidate": c.label, "round": number, **_run(job, prepared, number, c, each["seconds"])}
            for c in remaining[: each["candidates"]]
        ]
        rows += ran
        scores = {row["candidate"]: row["psnr"] for row in ran if row["psnr"] is not None}
        if not scores:
            raise SrkdError(f"no candidate could be trained: {ran[0]['why']}")
        remaining.sort(key=lambda c: -scores.get(c.label, -math.inf))
    return remaining[0], rows


def _run(job: Job, prepared: Prepared, number: int, candidate: Candidate, seconds: float) -> Result:
    name = f"round_{number}_{_slug(candidate.label)}"
    # Saved before training: a resumed run must keep its number of steps.
    steps = job.once(f"{name}_plan", lambda: {"steps": max(1, int(SLACK * seconds * prepared.rates[candidate.label]))})

    def make() -> Result:
        try:
            file = training.train(training.recipe(job.setup, name, candidate, steps["steps"]), job.work / "runs")
        except SrkdError as error:  # a diverged run drops out
            return {"psnr": None, **steps, "why": str(error)}
        score = round(_score(job, prepared, file), 3)
        job.say(f"  {candidate.label}: {score:.2f} dB on the held-out crops")
        return {"psnr": score, **steps, "pace": training.pace(job.work / "runs" / name)}

    return job.once(name, make, f"round {number}: {candidate.label}, {plan.clock(seconds)}")


def _score(job: Job, prepared: Prepared, file: Path) -> float:
    """Mean PSNR in dB on the held-out crops, on the student's backend."""
    engine = engines.open_student(file, prepared.backend, job.training)
    student = engines.scored("student", engine, 0)
    _, store = open_set(str(job.held_out), job.request.scale)
    (row,) = measure([student], [("held-out", store)], job.request.scale, metrics=["psnr"])["models"]
    return float(row["sets"]["held-out"]["psnr"])


def _slug(label: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in label)
