"""Measurements before training: which candidates fit, how fast the teacher and their training are.

Measuring may take `Settings.measuring_share` of the time. On a busy machine that is used up sooner; then what is
missing is estimated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from srkd.benchmarks.training import steps_per_second
from srkd.compression import candidates
from srkd.compression.candidates import Candidate, Cost, Line, Measured, SearchResult, nothing_fits, search, select
from srkd.compression.finish import megabytes, store
from srkd.compression.job import CompressionJob, Result, clock
from srkd.compression.rounds import Plan, check, divide, enlarging
from srkd.data import photos
from srkd.data.sets import open_set
from srkd.errors import SrkdError
from srkd.imitation.bank import SHARD
from srkd.imitation.teachers import OutputTeacher
from srkd.inference import backends
from srkd.inference.autotune import Backend
from srkd.inference.calibration import ImagePair
from srkd.inference.cost import multiply_adds, parameters
from srkd.inference.graph import graph_of
from srkd.inference.model import Model
from srkd.inference.speed import Size, SpeedMeter, noise
from srkd.machine import busy, cores, load_average
from srkd.metrics.evaluation import open_model
from srkd.metrics.scores import Protocol, score
from srkd.training.log import Progress
from srkd.training.malloc import keep_freed_memory
from srkd.training.processes import say
from srkd.training.run import Run

_PROBE = 96  # side of the input for timing the teacher, in LR pixels
_SLOW = 5.0  # seconds of a teacher's warm-up at half that side that make a full pass unnecessary
_DRY_RUN_CROPS = 8  # crops, enough to time the training of candidates
_PASSES = 3  # of a slow teacher in its final timing
_CROP_PIXELS = 400 * 512**2  # of all crops from which degraded patches are cut
_TEACHER_SCORING = 0.05  # maximum share of the time for scoring the teacher
_WARM_UP = 3  # steps before the training of a candidate is timed
_UNCERTAIN = 0.15  # a spread of the measured times that is worth a notice
_REFERENCE = Candidate("EDSR 16x8", "EDSR", {"type": "EDSR", "num_feat": 16, "num_block": 8, "img_range": 1.0}, 0.0)


@dataclass
class Prepared:
    """The measurements before training.

    Args:
        backend: runtime and precision of the student.
        candidates: candidates to train, with their costs.
        rates: training steps per second by candidate label.
        rejected: rows of candidates that do not fit, with `why`.
        available: milliseconds of a small EDSR by "runtime precision".
        crops: result of the phase `pictures`.
        pace: seconds of the teacher per HR pixel.
    """

    backend: Backend
    candidates: list[Measured]
    rates: dict[str, float]
    rejected: list[dict[str, Any]]
    available: dict[str, float]
    crops: Result
    pace: float

    def teacher_seconds(self) -> float:
        """Seconds to compute the teacher's outputs."""
        return float(self.crops["bank pixels" if "patches" in self.crops else "pixels"]) * self.pace

    def describe_crops(self) -> str:
        """Number, size and coverage of the crops, or of the degraded patches, as text."""
        if "patches" in self.crops:
            return f"{self.crops['patches']:,} degraded patches"
        text = f"{self.crops['crops']} crops of at most {self.crops['side']} pixels"
        part = self.crops["pixels"] / self.crops["all pixels"]
        return text if part > 0.98 else f"{text}, {part:.0%} of the photographs (as many as the time allows)"


def prepare(job: CompressionJob) -> Prepared:
    """Run all measurements; invalid requests are found early.

    Raises:
        SrkdError: as `candidates.nothing_fits` and `check`.
    """
    meter = SpeedMeter(job.settings.timing, job.settings.measuring_share * job.request.seconds - job.phases.spent)
    found = job.once("fit", lambda: _fit(job, meter), "measuring what fits")
    pace = job.once("teacher", lambda: _time_teacher(job, meter), "timing the teacher")["seconds per pixel"]
    pace /= job.teacher.scale**2
    crops = job.once("pictures", lambda: _cut(job, pace), "cutting the photographs")
    if not job.request.imitate:
        clean = job.once("clean", lambda: _compare_with_bicubic(job))
        if clean["teacher"] < clean["bicubic"]:
            say(
                f"notice: on clean images the output of {job.teacher.name} is further from the truth than bicubic's "
                f"({clean['teacher']:.1f} against {clean['bicubic']:.1f} dB), as of a network that restores degraded "
                "images: if it does, use --imitate"
            )
    fitting = [_measured(each) for each in found["fitting"]]
    prepared = Prepared(tuple(found["way"]), fitting, {}, found["refused"], found["ways"], crops, pace)
    timed = job.once("rates", lambda: _time_candidates(job, prepared, meter), "timing the students' training")
    prepared.candidates = [_measured(each) for each in timed["candidates"]]
    prepared.rates = timed["rates"]
    return prepared


def _plain(candidate: Candidate, cost: Cost) -> list[Any]:
    return [asdict(candidate), asdict(cost)]


def _measured(plain: list[Any]) -> Measured:
    return Candidate(**plain[0]), Cost(**plain[1])


def share(job: CompressionJob, prepared: Prepared, outputs_cached: bool) -> Plan:
    """The plan for the remaining time."""
    left = _left_to_train(job, prepared, outputs_cached)
    return divide(left, len(prepared.candidates), job.request.control, job.settings)


def _left_to_train(job: CompressionJob, prepared: Prepared, outputs_cached: bool) -> float:
    """Remaining seconds for training: not yet spent and not reserved for other parts."""
    return job.left - closing(job, prepared) - (0.0 if outputs_cached else prepared.teacher_seconds())


def closing(job: CompressionJob, prepared: Prepared) -> float:
    """Seconds reserved after training for export, scores (the teacher's, too), final timings and the report."""
    scores = min(job.settings.held_out * prepared.pace, _TEACHER_SCORING * job.request.seconds)
    width, height = job.request.budget.at
    timing = _PASSES * width * height * job.teacher.scale**2 * prepared.pace
    return job.settings.closing + job.settings.closing_share * job.request.seconds + scores + timing


class CandidateMeter:
    """Measures candidates on a backend, with random weights: neither time nor size depends on them.

    Once the meter's limit is reached, at least one candidate being measured, others are estimated in proportion to the
    measured one with the nearest number of multiply-adds, of the same family if there is one.
    """

    def __init__(self, scale: int, backend: Backend, at: Size, meter: SpeedMeter) -> None:
        self.scale, self.backend, self.at, self.meter = scale, backend, at, meter
        self.known: list[Measured] = []

    def __call__(self, candidate: Candidate) -> Cost:
        """The cost of a candidate."""
        network = candidate.build(self.scale)
        count, macs = parameters(network), multiply_adds(network, self.scale, *(s * self.scale for s in self.at[::-1]))
        if self.known and self.meter.left <= 0:
            alike = [cost for other, cost in self.known if other.family == candidate.family]
            return min(alike or [c for _, c in self.known], key=lambda c: abs(c.multiply_adds - macs)).scaled(
                count, macs
            )
        opened, megabytes = _open_and_size(
            Model(network, self.scale, "student", meta={"network": candidate.spec}), self.backend
        )
        speed = self.meter.model(opened, self.at)
        self.known.append((candidate, Cost(speed.ms, megabytes, count, macs, speed.spread)))
        return self.known[-1][1]


def _open_and_size(model: Model, backend: Backend) -> tuple[Model, float]:
    """The model on a backend (int8 is calibrated on noise) and the megabytes of its file: the checkpoint as `store`
    writes it, for int8 the exported network."""
    runtime, precision = backend
    with tempfile.TemporaryDirectory() as scratch:
        if precision != "int8":
            store(Path(scratch) / "student.safetensors", model.network.state_dict(), {**model.meta, "scale": 1})
            return backends.open_engine(model, runtime, precision), megabytes(Path(scratch))
        known = model.facts()
        converted = backends.converted(graph_of(model.network), runtime, precision, known)
        quantised = backends.quantised(converted, runtime, [noise(64, 64)[0]])
        backends.save(quantised, runtime, Path(scratch) / f"student{backends.SUFFIXES[runtime]}")
        return backends.wrap(quantised, runtime, precision, known), megabytes(Path(scratch))


def _fit(job: CompressionJob, meter: SpeedMeter) -> Result:
    """Choose the backend that runs a small EDSR fastest, and find the candidates that fit on it."""
    request = job.request
    times, found, smallest = dict[str, float](), SearchResult(), []
    lines = _lines(job)
    if busy():
        share = f"load {load_average():.0f} on {cores()} cores"
        say(f"notice: this machine is busy ({share}): measured times will be too long")
    for available in filter(None, (request.available(), request.int8_backends())):
        measures = {b: CandidateMeter(request.scale, b, request.budget.at, meter) for b in available}
        costs = {backend: measure(_REFERENCE) for backend, measure in measures.items()}
        times |= {" ".join(backend): round(cost.ms, 2) for backend, cost in costs.items()}
        backend = min(costs, key=lambda b: costs[b].ms)
        with Progress(f"candidates on {' '.join(backend)}, by family and depth", len(lines)) as progress:
            found = search(lines, _reporting(measures[backend], lines, progress), request.budget)
            progress.update(len(lines))
        if found.fitting:
            break
        smallest += [(*measured, " ".join(backend)) for measured in found.smallest]
    if not found.fitting:
        raise nothing_fits(smallest, request.budget)
    _say_uncertain(found.fitting)
    fitting = [_plain(*measured) for measured in found.fitting]
    return {"way": list(backend), "ways": times, "fitting": fitting, "refused": found.rejected}


def _lines(job: CompressionJob) -> list[Line]:
    (job.work / "pruned").mkdir(exist_ok=True)
    return candidates.lines(job.teacher, job.work / "pruned", job.request.networks)


def _reporting(measure: CandidateMeter, lines: list[Line], progress: Progress) -> Callable[[Candidate], Cost]:
    """`measure` with a report of its progress."""
    place = {candidate.label: number for number, line in enumerate(lines) for candidate in line}

    def reporting(candidate: Candidate) -> Cost:
        progress.update(place[candidate.label], candidate.label)
        return measure(candidate)

    return reporting


def _say_uncertain(fitting: Sequence[Measured]) -> None:
    """Log how far the measured times can be trusted, if not far."""
    estimated = sum(cost.estimated for _, cost in fitting)
    if estimated:
        say(
            f"notice: measuring took its share of the time; {estimated} of {len(fitting)} candidates are estimated "
            f"from others and must take {1 - candidates.MARGIN_ESTIMATED:.0%} less than the budget"
        )
    spread = max((cost.spread or 0.0 for _, cost in fitting), default=0.0)
    if spread > _UNCERTAIN:
        say(f"notice: measured times varied by up to {spread:.0%}; the student may turn out faster or slower")


def _time_teacher(job: CompressionJob, meter: SpeedMeter) -> Result:
    """Seconds of the teacher per LR pixel: one pass after a smaller warm-up pass, or only that if it takes long; on the
    GPU if one is available, as for its cached outputs."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @torch.inference_mode()
    def run(side: int) -> None:
        if isinstance(job.teacher, OutputTeacher):
            job.teacher(noise(side, side))
        else:
            job.teacher.network.to(device)
            job.teacher.run(torch.rand(1, 3, side, side, device=device)).cpu()

    side = _PROBE // 2
    if isinstance(job.teacher, OutputTeacher):
        run(side // 2)  # the first pass starts its runtime, which may take far longer than the pass
    seconds = meter.once(lambda: run(side))
    if seconds < _SLOW:
        side = _PROBE
        seconds = meter.once(lambda: run(side))
    if not isinstance(job.teacher, OutputTeacher):
        job.teacher.network.cpu()
    return {"seconds per pixel": seconds / side**2}


def _cut(job: CompressionJob, pace: float) -> Result:
    """Write crops: as many as the teacher can process in its share of the time, or if it is imitated all, from which it
    gets as many patches."""
    request, settings = job.request, job.settings
    for why, count in job.left_out.items():
        if count:
            say(f"notice: {count} photographs {why} are left out")
    for_training, held = photos.split(job.photos)
    all_pixels = sum(photo.size[0] * photo.size[1] for photo in for_training)
    side, few = settings.crop[0], settings.few * settings.crop[0] ** 2
    bank = _patches(job, pace) if request.imitate else {}
    pixels = float(max(few, _CROP_PIXELS)) if request.imitate else settings.teacher_share * request.seconds / pace
    if pixels < min(all_pixels, few):
        side = settings.crop[1]
    chosen = photos.crops(for_training, side, pixels, job.smallest, request.seed)
    if not chosen:
        raise _too_slow(job, pace * side**2, f"a crop of {side}x{side}", settings.teacher_share)
    held_out_pixels = max(min(settings.held_out, _TEACHER_SCORING * request.seconds / pace), side**2)
    for crops, folder in (
        (chosen[: _DRY_RUN_CROPS if job.dry_run else None], job.training),
        (photos.crops(held, side, held_out_pixels, job.smallest, request.seed), job.held_out),
    ):
        with Progress(f"crops, {folder.name}", len({photo for photo, _ in crops})) as progress:
            photos.write(crops, folder, progress.update)
    return {
        "photographs": len(job.photos),
        "left out": job.left_out,
        "crops": len(chosen),
        "side": side,
        "pixels": sum(box[2] * box[3] for _, box in chosen),
        "all pixels": all_pixels,
        "held out": [photo.path.name for photo in held],
        **bank,
    }


def _patches(job: CompressionJob, pace: float) -> Result:
    """How many patches the teacher can process in its share of the time, in whole files of a bank."""
    pixels, share = (job.bank_side * job.teacher.scale) ** 2, job.settings.bank_share
    count = min(int(share * job.request.seconds / (pace * pixels)), job.settings.patches) // SHARD * SHARD
    if not count:
        raise _too_slow(job, SHARD * pace * pixels, f"{SHARD} patches of {job.bank_side}x{job.bank_side}", share)
    return {"patches": count, "bank pixels": count * pixels}


def _too_slow(job: CompressionJob, seconds: float, what: str, share: float) -> SrkdError:
    return SrkdError(
        f"--time is too short: {job.teacher.name} takes {clock(seconds)} for {what} pixels, and its share of --time is "
        f"{clock(share * job.request.seconds)}; give more time"
    )


def _compare_with_bicubic(job: CompressionJob) -> Result:
    """PSNR (dB) of the teacher and of bicubic on a clean held-out crop, to notice a teacher of degraded images."""
    scale = job.request.scale
    _, store = open_set(str(job.held_out), scale)
    pair = ImagePair(store.lr(0), store.hr(0), False).middle(scale, _PROBE)
    protocol = Protocol.default(scale)
    outputs = {
        label: open_model(name, scale).upscale(pair.lr)
        for label, name in (("bicubic", "bicubic"), ("teacher", job.teacher_name))
    }
    return {label: score(output, pair.hr, protocol, metrics=["psnr"])["psnr"] for label, output in outputs.items()}


def _time_candidates(job: CompressionJob, prepared: Prepared, meter: SpeedMeter) -> Result:
    """Time the training of as many candidates as the time allows, after checking that it allows one.

    A candidate that would train for too few steps is replaced by a narrower one, if its line has one. When the meter's
    limit is reached, rates are estimated in proportion to the multiply-adds of the last one timed.
    """
    check(_left_to_train(job, prepared, outputs_cached=False), job.request.control, job.settings)
    shared = share(job, prepared, outputs_cached=False)
    count = shared.rounds[0].candidates if shared.rounds else 1
    timed: list[tuple[float, Cost]] = []

    def rate(candidate: Candidate, cost: Cost) -> float:
        if timed and meter.left <= 0:
            return timed[-1][0] * timed[-1][1].multiply_adds / cost.multiply_adds
        timed.append((training_rate(job, candidate), cost))
        return timed[-1][0]

    found, rates = [], {}
    for candidate, cost in select(prepared.candidates, count):
        speed = rate(candidate, cost)
        steps = speed * shared.student
        narrow = candidates.narrower(candidate, _lines(job), steps / job.settings.steps, job.request.scale)
        if steps < job.settings.steps and narrow != candidate:
            say(f"notice: {narrow.label} in place of {candidate.label}, which would train for only {steps:.0f} steps")
            measure = CandidateMeter(job.request.scale, prepared.backend, job.request.budget.at, meter)
            measure.known.append((candidate, cost))
            candidate, cost = narrow, measure(narrow)
            speed = rate(candidate, cost)
        found.append(_plain(candidate, cost))
        rates[candidate.label] = speed
    return {"candidates": found, "rates": rates}


def training_rate(job: CompressionJob, candidate: Candidate) -> float:
    """Training steps per second of a control on this machine; cached teacher outputs would add little."""
    keep_freed_memory()
    control = enlarging(job, "pace", candidate, 10**6, distilled=False)
    (task,) = Run(control, job.work, quiet=True).dry_run()
    return steps_per_second(task, job.settings.timing, _WARM_UP)
