"""Everything that takes seconds: which runtime, what fits, how fast; and with that the plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from srkd.engine.log import Progress
from srkd.errors import SrkdError
from srkd.study.compress import budget, engines, ladder, pictures, plan, training
from srkd.study.compress.job import Job
from srkd.study.compress.ladder import Candidate
from srkd.study.compress.stages import Result

_PROBE = 96  # side of the input that the teacher is timed with, in LR pixels
_REHEARSED = 8  # crops are enough to see how fast candidates train
_TEACHERS_SCORES = 0.05  # share of the time that the teacher may take for its scores


@dataclass
class Prepared:
    """What was measured.

    Args:
        way: runtime and precision that the student is for.
        candidates: those that fit and are to be trained, with what they take; rates: their steps a second.
        refused: rows of what does not fit, with `why`.
        crops: the stage `pictures`; pace: seconds that the teacher takes for a pixel of HR.
    """

    way: engines.Way
    candidates: list[budget.Measured]
    rates: dict[str, float]
    refused: list[dict[str, Any]]
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
    fitting = {c["label"]: (Candidate(**c), budget.Cost(**cost)) for c, cost in found["fitting"]}
    prepared = Prepared(tuple(found["way"]), list(fitting.values()), {}, found["refused"], crops, pace)
    prepared.rates = job.once("rates", lambda: _time_candidates(job, prepared), "timing the students' training")
    prepared.candidates = [fitting[label] for label in prepared.rates]
    return prepared


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
    return plan.closing(job.request.seconds, scores, job.effort)


def _fit(job: Job) -> Result:
    request, seconds = job.request, job.effort.timing
    limits, times, found = request.budget, dict[str, float](), budget.Found()
    (job.work / "pruned").mkdir(exist_ok=True)
    lines = ladder.lines(job.teacher, job.work / "pruned")
    for ways in filter(None, (request.ways(), request.int8_ways())):
        way, more = engines.fastest(ways, request.scale, limits.at, seconds)
        times |= more
        total = sum(map(len, lines))
        with Progress(f"candidates on {' '.join(way)}", total) as progress:
            found = budget.search(lines, _meter(job, way, progress), limits)
            progress.update(total)
        if found.fitting:
            break
    if not found.fitting:
        raise budget.nothing_fits(found.smallest, limits, " ".join(way))
    return {"way": list(way), "ways": times, "fitting": [[asdict(c), asdict(cost)] for c, cost in found.fitting],
            "refused": found.refused}  # fmt: skip


def _meter(job: Job, way: engines.Way, progress: Progress) -> Any:
    def measure(candidate: Candidate) -> budget.Cost:
        progress.update(progress.done + 1, candidate.label)
        return engines.cost(candidate, job.request.scale, way, job.request.budget.at, job.effort.timing)

    return measure


def _time_teacher(job: Job) -> Result:
    return {"seconds per pixel": engines.seconds_per_pixel(job.teacher.network, _PROBE)}


def _cut(job: Job, pace: float) -> Result:
    """Write the crops: as many as the teacher can answer in its share of the time."""
    request, effort = job.request, job.effort
    if job.small:
        job.say(f"notice: {job.small} photographs smaller than {job.patch}x{job.patch} pixels are left out")
    learnt, held = pictures.split(job.photos)
    pixels, (side, small_side) = effort.answers * request.seconds / pace, effort.crop
    every = sum(photo.size[0] * photo.size[1] for photo in learnt)
    if pixels < min(every, effort.few * side**2):
        side = small_side
    chosen = pictures.crops(learnt, side, pixels, job.patch, request.seed)
    if not chosen:
        raise SrkdError(
            f"too short a time: {job.teacher.name} takes {plan.clock(pace * side**2)} for a crop of {side}x{side} "
            f"pixels, and has {plan.clock(effort.answers * request.seconds)}, its share of --time, for all; give more"
        )
    judged = max(min(effort.held_out, _TEACHERS_SCORES * request.seconds / pace), side**2)
    for photos, folder in (
        (chosen[: _REHEARSED if job.rehearsal else None], job.training),
        (pictures.crops(held, side, judged, job.patch, request.seed), job.held_out),
    ):
        with Progress(f"crops, {folder.name}", len({photo for photo, _ in photos})) as progress:
            pictures.write(photos, folder, progress.update)
    return {"photographs": len(job.photos), "too small": job.small, "crops": len(chosen), "side": side,
            "pixels": sum(box[2] * box[3] for _, box in chosen), "all pixels": every,
            "held out": [photo.path.name for photo in held]}  # fmt: skip


def _time_candidates(job: Job, prepared: Prepared) -> Result:
    """Steps a second of those that there is time to train; first it is seen whether there is time for any."""
    plan.check(left_to_train(job, prepared, answered=False), job.request.control, job.effort)
    shared = share(job, prepared, answered=False)
    count = shared.rounds[0].candidates if shared.rounds else 1
    rates = {}
    for candidate, _ in budget.chosen(prepared.candidates, count):
        recipe = training.recipe(job.lesson, "pace", candidate, 1, distilled=False)
        rates[candidate.label] = training.steps_per_second(recipe, job.work, job.effort.timing)
    return rates
