"""Measurements before training: the fastest backend, candidates that fit, training speed; and the plan from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from srkd.compression import budget, engines, images, ladder, plan, training
from srkd.compression.job import Job
from srkd.compression.ladder import Candidate
from srkd.compression.phases import Result
from srkd.errors import SrkdError
from srkd.machine import cores, load_average
from srkd.training.log import Progress

_PROBE = 96  # side of the input for timing the teacher, in LR pixels
_DRY_RUN_CROPS = 8  # crops, enough to time the training of candidates
_PASSES = 3  # of a slow network while it is timed, see `cost.median_ms`
_TEACHER_SCORING = 0.05  # maximum share of the time for scoring the teacher


@dataclass
class Prepared:
    """The measurements.

    Args:
        backend: runtime and precision of the student.
        candidates: candidates to train, with their costs.
        rates: training steps per second by candidate label.
        rejected: rows of candidates that do not fit, with `why`.
        available: milliseconds of a small EDSR by "runtime precision".
        crops: result of the phase `pictures`.
        pace: seconds of the teacher per HR pixel.
    """

    backend: engines.Backend
    candidates: list[budget.Measured]
    rates: dict[str, float]
    rejected: list[dict[str, Any]]
    available: dict[str, float]
    crops: Result
    pace: float

    def teacher_seconds(self) -> float:
        """Seconds to compute the teacher's outputs."""
        return float(self.crops["pixels"]) * self.pace

    def describe_crops(self) -> str:
        """Number, size and coverage of the crops as text."""
        text = f"{self.crops['crops']} crops of at most {self.crops['side']} pixels"
        part = self.crops["pixels"] / self.crops["all pixels"]
        return text if part > 0.98 else f"{text}, {part:.0%} of the photographs (as many as the time allows)"


def prepare(job: Job) -> Prepared:
    """Run all measurements; invalid requests are found early.

    Raises:
        SrkdError: as `budget.nothing_fits` and `plan.check`.
    """
    found = job.once("fit", lambda: _fit(job), "measuring what fits")
    pace = job.once("teacher", lambda: _time_teacher(job), "timing the teacher")["seconds per pixel"]
    pace /= job.request.scale**2
    crops = job.once("pictures", lambda: _cut(job, pace), "cutting the photographs")
    fitting = [_measured(each) for each in found["fitting"]]
    backend, rejected, available = tuple(found["way"]), found["refused"], found["ways"]
    prepared = Prepared(backend, fitting, {}, rejected, available, crops, pace)
    timed = job.once("rates", lambda: _time_candidates(job, prepared), "timing the students' training")
    prepared.candidates = [_measured(each) for each in timed["candidates"]]
    prepared.rates = timed["rates"]
    return prepared


def _plain(candidate: Candidate, cost: budget.Cost) -> list[Any]:
    return [asdict(candidate), asdict(cost)]


def _measured(plain: list[Any]) -> budget.Measured:
    return Candidate(**plain[0]), budget.Cost(**plain[1])


def left_to_train(job: Job, prepared: Prepared, outputs_cached: bool) -> float:
    """Remaining seconds for training: not yet spent and not reserved for other parts."""
    return job.left - closing(job, prepared) - (0.0 if outputs_cached else prepared.teacher_seconds())


def share(job: Job, prepared: Prepared, outputs_cached: bool) -> plan.Plan:
    """The plan for the remaining time."""
    left = left_to_train(job, prepared, outputs_cached)
    return plan.share(left, len(prepared.candidates), job.request.control, job.settings)


def closing(job: Job, prepared: Prepared) -> float:
    """Seconds reserved after training."""
    scores = min(job.settings.held_out * prepared.pace, _TEACHER_SCORING * job.request.seconds)
    width, height = job.request.budget.at
    timing = _PASSES * width * height * job.request.scale**2 * prepared.pace
    return plan.closing(job.request.seconds, scores + timing, job.settings)


def _fit(job: Job) -> Result:
    request, seconds = job.request, job.settings.timing
    times, found, smallest = dict[str, float](), budget.SearchResult(), []
    lines = _lines(job)
    load = load_average() or 0
    if load > cores() + 1:
        job.say(f"notice: this machine is busy (load {load:.0f} on {cores()} cores): measured times will be too long")
    for available in filter(None, (request.available(), request.int8_backends())):
        backend, more = engines.fastest(available, request.scale, request.budget.at, seconds)
        times |= more
        with Progress(f"candidates on {' '.join(backend)}, by family and depth", len(lines)) as progress:
            found = budget.search(lines, _meter(job, backend, lines, progress), request.budget)
            progress.update(len(lines))
        if found.fitting:
            break
        smallest += [(*measured, " ".join(backend)) for measured in found.smallest]
    if not found.fitting:
        raise budget.nothing_fits(smallest, request.budget)
    fitting = [_plain(*measured) for measured in found.fitting]
    return {"way": list(backend), "ways": times, "fitting": fitting, "refused": found.rejected}


def _lines(job: Job) -> list[ladder.Line]:
    (job.work / "pruned").mkdir(exist_ok=True)
    return ladder.lines(job.teacher, job.work / "pruned")


def _meter(
    job: Job, backend: engines.Backend, lines: list[ladder.Line], progress: Progress
) -> Callable[..., budget.Cost]:
    """A function that measures a candidate and reports progress."""
    place = {candidate.label: number for number, line in enumerate(lines) for candidate in line}

    def measure(candidate: Candidate) -> budget.Cost:
        progress.update(place[candidate.label], candidate.label)
        return engines.cost(candidate, job.request.scale, backend, job.request.budget.at, job.settings.timing)

    return measure


def _time_teacher(job: Job) -> Result:
    return {"seconds per pixel": engines.seconds_per_pixel(job.teacher.network, _PROBE)}


def _cut(job: Job, pace: float) -> Result:
    """Write the crops: as many as the teacher can process in its share of the time."""
    request, settings = job.request, job.settings
    for why, count in job.left_out.items():
        if count:
            job.say(f"notice: {count} photographs {why} are left out")
    training_photos, held = images.split(job.photos)
    pixels, (side, small_side) = settings.teacher_share * request.seconds / pace, settings.crop
    all_pixels = sum(photo.size[0] * photo.size[1] for photo in training_photos)
    if pixels < min(all_pixels, settings.few * side**2):
        side = small_side
    chosen = images.crops(training_photos, side, pixels, job.patch, request.seed)
    if not chosen:
        raise SrkdError(
            f"--time is too short: {job.teacher.name} takes {plan.clock(pace * side**2)} for a crop of {side}x{side} "
            f"pixels, and its share of --time is {plan.clock(settings.teacher_share * request.seconds)}; give more time"
        )
    held_out_pixels = max(min(settings.held_out, _TEACHER_SCORING * request.seconds / pace), side**2)
    for photos, folder in (
        (chosen[: _DRY_RUN_CROPS if job.dry_run else None], job.training),
        (images.crops(held, side, held_out_pixels, job.patch, request.seed), job.held_out),
    ):
        with Progress(f"crops, {folder.name}", len({photo for photo, _ in photos})) as progress:
            images.write(photos, folder, progress.update)
    return {
        "photographs": len(job.photos),
        "left out": job.left_out,
        "crops": len(chosen),
        "side": side,
        "pixels": sum(box[2] * box[3] for _, box in chosen),
        "all pixels": all_pixels,
        "held out": [photo.path.name for photo in held],
    }


def _time_candidates(job: Job, prepared: Prepared) -> Result:
    """Time the training of as many candidates as the time allows, after checking that it allows one."""
    plan.check(left_to_train(job, prepared, outputs_cached=False), job.request.control, job.settings)
    shared = share(job, prepared, outputs_cached=False)
    count = shared.rounds[0].candidates if shared.rounds else 1
    candidates, rates = [], {}
    for candidate, cost in budget.select(prepared.candidates, count):
        rate = _rate(job, candidate)
        if rate * shared.student < job.settings.steps:
            candidate, cost, rate = _narrower(job, prepared.backend, (candidate, cost), rate, rate * shared.student)
        candidates.append(_plain(candidate, cost))
        rates[candidate.label] = rate
    return {"candidates": candidates, "rates": rates}


def _rate(job: Job, candidate: Candidate) -> float:
    recipe = training.recipe(job.setup, "pace", candidate, 1, distilled=False)
    return training.steps_per_second(recipe, job.work, job.settings.timing)


def _narrower(
    job: Job, backend: engines.Backend, measured: budget.Measured, rate: float, steps: float
) -> tuple[Candidate, budget.Cost, float]:
    """Replace a candidate that would train for too few steps by a narrower one, if its line has one."""
    slow, scale = measured[0], job.request.scale
    candidate = ladder.narrower(slow, _lines(job), steps / job.settings.steps, scale)
    if candidate == slow:
        return *measured, rate
    job.say(f"notice: {candidate.label} in place of {slow.label}, which would train for only {steps:.0f} steps")
    cost = engines.cost(candidate, scale, backend, job.request.budget.at, job.settings.timing)
    return candidate, cost, _rate(job, candidate)
