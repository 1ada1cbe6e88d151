"""Everything that takes seconds: which runtime, what fits, how fast; and with that the plan."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from srkd.compression import budget, engines, images, ladder, plan, training
from srkd.compression.job import Job
from srkd.compression.ladder import Candidate
from srkd.compression.stages import Result
from srkd.errors import SrkdError
from srkd.training.log import Progress

_PROBE = 96  # side of the input that the teacher is timed with, in LR pixels
_REHEARSED = 8  # crops are enough to see how fast candidates train
_PASSES = 3  # that a slow network makes while its time is measured, see `cost.median_ms`
_TEACHERS_SCORES = 0.05  # share of the time that the teacher may take for its scores


@dataclass
class Prepared:
    """What was measured.

    Args:
        way: runtime and precision that the student is for.
        candidates: those that fit and are to be trained, with what they take; rates: their steps a second.
        refused: rows of what does not fit, with `why`.
        available: each runtime and precision that was tried, and its milliseconds for a small EDSR.
        crops: the stage `images`; pace: seconds that the teacher takes for a pixel of HR.
    """

    backend: engines.Backend
    candidates: list[budget.Measured]
    rates: dict[str, float]
    refused: list[dict[str, Any]]
    available: dict[str, float]
    crops: Result
    pace: float

    def answering(self) -> float:
        """Seconds that the teacher's answers take."""
        return float(self.crops["pixels"]) * self.pace

    def crops_said(self) -> str:
        """The crops in words."""
        said = f"{self.crops['crops']} crops of at most {self.crops['side']} pixels"
        part = self.crops["pixels"] / self.crops["all pixels"]
        return said if part > 0.98 else f"{said}, {part:.0%} of the photographs (what fits into its share of the time)"


def prepare(job: Job) -> Prepared:
    """Measure, cheapest mistakes first.

    Raises:
        SrkdError: as `budget.nothing_fits` and `plan.check`.
    """
    found = job.once("fit", lambda: _fit(job), "measuring what fits")
    pace = job.once("teacher", lambda: _time_teacher(job), "timing the teacher")["seconds per pixel"]
    pace /= job.request.scale**2
    crops = job.once("pictures", lambda: _cut(job, pace), "cutting the photographs")
    fitting = [_measured(each) for each in found["fitting"]]
    backend, refused, available = tuple(found["way"]), found["refused"], found["ways"]
    prepared = Prepared(backend, fitting, {}, refused, available, crops, pace)
    timed = job.once("rates", lambda: _time_candidates(job, prepared), "timing the students' training")
    prepared.candidates = [_measured(each) for each in timed["candidates"]]
    prepared.rates = timed["rates"]
    return prepared


def _plain(candidate: Candidate, cost: budget.Cost) -> list[Any]:
    return [asdict(candidate), asdict(cost)]


def _measured(plain: list[Any]) -> budget.Measured:
    return Candidate(**plain[0]), budget.Cost(**plain[1])


def left_to_train(job: Job, prepared: Prepared, answered: bool) -> float:
    """Seconds of the time given that are neither spent nor bespoken."""
    return job.left - closing(job, prepared) - (0.0 if answered else prepared.answering())


def share(job: Job, prepared: Prepared, answered: bool) -> plan.Plan:
    """The plan for the time that is left."""
    left = left_to_train(job, prepared, answered)
    return plan.share(left, len(prepared.candidates), job.request.control, job.effort)


def closing(job: Job, prepared: Prepared) -> float:
    """Seconds for what follows training."""
    scores = min(job.effort.held_out * prepared.pace, _TEACHERS_SCORES * job.request.seconds)
    width, height = job.request.budget.at
    timing = _PASSES * width * height * job.request.scale**2 * prepared.pace
    return plan.closing(job.request.seconds, scores + timing, job.effort)


def _fit(job: Job) -> Result:
    request, seconds = job.request, job.effort.timing
    limits, times, found, smallest = request.budget, dict[str, float](), budget.Found(), []
    lines = _lines(job)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores + 1:
        job.say(f"notice: others keep this machine busy (load {load:.0f} on {cores} cores): times will be too long")
    for available in filter(None, (request.available(), request.int8_ways())):
        backend, more = engines.fastest(available, request.scale, limits.at, seconds)
        times |= more
        with Progress(f"candidates on {' '.join(backend)}, by family and depth", len(lines)) as progress:
            found = budget.search(lines, _meter(job, backend, lines, progress), limits)
            progress.update(len(lines))
        if found.fitting:
            break
        smallest += [(*measured, " ".join(backend)) for measured in found.smallest]
    if not found.fitting:
        raise budget.nothing_fits(smallest, limits)
    fitting = [_plain(*measured) for measured in found.fitting]
    return {"way": list(backend), "ways": times, "fitting": fitting, "refused": found.refused}


def _lines(job: Job) -> list[ladder.Line]:
    (job.work / "pruned").mkdir(exist_ok=True)
    return ladder.lines(job.teacher, job.work / "pruned")


def _meter(
    job: Job, backend: engines.Backend, lines: list[ladder.Line], progress: Progress
) -> Callable[..., budget.Cost]:
    """What measures a candidate, and says which."""
    place = {candidate.label: number for number, line in enumerate(lines) for candidate in line}

    def measure(candidate: Candidate) -> budget.Cost:
        progress.update(place[candidate.label], candidate.label)
        return engines.cost(candidate, job.request.scale, backend, job.request.budget.at, job.effort.timing)

    return measure


def _time_teacher(job: Job) -> Result:
    return {"seconds per pixel": engines.seconds_per_pixel(job.teacher.network, _PROBE)}


def _cut(job: Job, pace: float) -> Result:
    """Write the crops: as many as the teacher can answer in its share of the time."""
    request, effort = job.request, job.effort
    for why, count in job.left_out.items():
        if count:
            job.say(f"notice: {count} photographs {why} are left out")
    learnt, held = images.split(job.photos)
    pixels, (side, small_side) = effort.predictions * request.seconds / pace, effort.crop
    every = sum(photo.size[0] * photo.size[1] for photo in learnt)
    if pixels < min(every, effort.few * side**2):
        side = small_side
    chosen = images.crops(learnt, side, pixels, job.patch, request.seed)
    if not chosen:
        raise SrkdError(
            f"too short a time: {job.teacher.name} takes {plan.clock(pace * side**2)} for a crop of {side}x{side} "
            f"pixels, and has {plan.clock(effort.predictions * request.seconds)}, its share of --time, for all; give "
            "more"
        )
    judged = max(min(effort.held_out, _TEACHERS_SCORES * request.seconds / pace), side**2)
    for photos, folder in (
        (chosen[: _REHEARSED if job.dry else None], job.training),
        (images.crops(held, side, judged, job.patch, request.seed), job.held_out),
    ):
        with Progress(f"crops, {folder.name}", len({photo for photo, _ in photos})) as progress:
            images.write(photos, folder, progress.update)
    return {
        "photographs": len(job.photos),
        "left out": job.left_out,
        "crops": len(chosen),
        "side": side,
        "pixels": sum(box[2] * box[3] for _, box in chosen),
        "all pixels": every,
        "held out": [photo.path.name for photo in held],
    }


def _time_candidates(job: Job, prepared: Prepared) -> Result:
    """Steps a second of those that there is time to train; first it is seen whether there is time for any."""
    plan.check(left_to_train(job, prepared, answered=False), job.request.control, job.effort)
    shared = share(job, prepared, answered=False)
    count = shared.rounds[0].candidates if shared.rounds else 1
    candidates, rates = [], {}
    for candidate, cost in budget.chosen(prepared.candidates, count):
        rate = _rate(job, candidate)
        if rate * shared.student < job.effort.steps:
            candidate, cost, rate = _quicker(job, prepared.backend, (candidate, cost), rate, rate * shared.student)
        candidates.append(_plain(candidate, cost))
        rates[candidate.label] = rate
    return {"candidates": candidates, "rates": rates}


def _rate(job: Job, candidate: Candidate) -> float:
    recipe = training.recipe(job.lesson, "pace", candidate, 1, distilled=False)
    return training.steps_per_second(recipe, job.work, job.effort.timing)


def _quicker(
    job: Job, backend: engines.Backend, measured: budget.Measured, rate: float, steps: float
) -> tuple[Candidate, budget.Cost, float]:
    """A narrower candidate for one that would make too few steps in the time; the same where there is none."""
    slow, scale = measured[0], job.request.scale
    candidate = ladder.quicker(slow, _lines(job), steps / job.effort.steps, scale)
    if candidate == slow:
        return *measured, rate
    job.say(f"notice: {candidate.label} in place of {slow.label}, which would make {steps:.0f} steps in the time given")
    cost = engines.cost(candidate, scale, backend, job.request.budget.at, job.effort.timing)
    return candidate, cost, _rate(job, candidate)
