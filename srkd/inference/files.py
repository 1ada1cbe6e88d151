"""Image files through a model; one that fails is named at the end and stops no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from srkd.errors import PartialFailure, SrkdError
from srkd.files.atomic import printable_path
from srkd.images.fit import fit_metadata
from srkd.images.formats import FORMATS, READ_ONLY, check_holds
from srkd.images.metadata import Metadata
from srkd.images.read import ImageData, read_image
from srkd.images.write import open_writer
from srkd.inference.jobs import Job
from srkd.inference.model import Model, check_tile, output_size
from srkd.inference.pipeline import Steps, overlapped

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How images are upscaled and written; `tile`, `self_ensemble` and `outscale` as `Model.upscale`."""

    tile: int | None = None
    self_ensemble: bool = False
    outscale: float | None = None
    quality: int | None = None
    skip_existing: bool = False

    def __post_init__(self) -> None:
        """Refuse before the first image what would fail with each. Raises SrkdError."""
        check_tile(self.tile)
        output_size(1, 1, 1 if self.outscale is None else self.outscale)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "written", "skipped" (its file is there already), "failed", or "planned" in a dry run.

    `size` is (height, width) before and after; `error` says why it failed.
    """

    job: Job
    status: str
    size: tuple[tuple[int, int], tuple[int, int]] | None = None
    notes: tuple[str, ...] = ()
    error: str = ""


def upscale_files(
    model: Model,
    jobs: Sequence[Job],
    options: Options,
    say: Say,
    done: Callable[[int], None],
    outcomes: list[Outcome] | None = None,
) -> int:
    """Do the jobs; returns how many images were written (others may have been skipped).

    `say` gets what is worth telling of an image, `done` the number of jobs behind us, and `outcomes` what became of
    each, whether this ends well or not.

    Raises:
        PartialFailure: some could not be done; each has been said, with its reason.
    """
    outcomes = [] if outcomes is None else outcomes
    todo: list[Job] = []
    skipped: list[Job] = []
    for job in jobs:
        (skipped if options.skip_existing and job.target.exists() else todo).append(job)
    outcomes += [Outcome(job, "skipped") for job in skipped]
    done(len(skipped))
    steps = _steps(model, options)
    results = overlapped(todo, steps)
    for number, (job, result) in enumerate(results, 1):
        if isinstance(result, Decoded):
            outcomes.append(Outcome(job, "written", _sizes(model, result, options), tuple(result.notes)))
            for note in result.notes:
                say(f"{printable_path(job.source)}: {note}")
        else:
            outcomes.append(Outcome(job, "failed", error=_reason(job, result)))
        done(len(skipped) + number)
    failures = [outcome.error for outcome in outcomes if outcome.status == "failed"]
    for failure in failures:
        say(f"failed: {failure}")
    written = len(todo) - len(failures)
    if failures:
        raise PartialFailure(f"{len(failures)} of {len(jobs)} images failed, {written} were written")
    return written


def upscale_file(model: Model, job: Job, options: Options) -> list[str]:
    """Do one job, holding a few rows of tiles of the result at a time; returns notes on what was changed on the way.

    Raises:
        SrkdError: an image that cannot be read, or that the format cannot hold; an unwritable folder; a full disk.
    """
    steps = _steps(model, options)
    decoded = steps.decode(job)
    steps.encode(job, decoded, steps.compute(job, decoded))
    return decoded.notes


@dataclass
class Decoded:
    """An image that was read, as (H, W, C), how it is to be written, and what is to be told of it."""

    pixels: np.ndarray
    metadata: Metadata
    quality: int | None
    notes: list[str]


def _decode(job: Job, options: Options) -> Decoded:
    """Read an image and tell what its target's format cannot hold of it."""
    image = read_image(job.source)
    pixels, notes, format = _as_held(image, job), list(image.notes), FORMATS[job.format]
    if image.format in READ_ONLY:
        notes.append(f"{image.format} is read and not written: saved as {job.format}")
    if pixels.dtype == np.uint16 and not format.deep:
        notes.append(f"16 bits rounded to the 8 that {job.format} holds")
    metadata, lost = fit_metadata(image.metadata, format, pixels.shape[2] < 3)
    if lost:
        notes.append(f"{job.format} cannot hold its {', '.join(lost)}")
    lossless = image.lossless and image.format == job.format and options.quality is None
    return Decoded(pixels, metadata, 100 if lossless else options.quality, notes)


def _steps(model: Model, options: Options) -> Steps[Job, Decoded]:
    def decode(job: Job) -> Decoded:
        return _decode(job, options)

    def compute(job: Job, decoded: Decoded) -> Iterator[np.ndarray]:
        pixels = decoded.pixels
        side = model.tile_side(pixels.shape[0], pixels.shape[1], options.tile)
        if side < max(pixels.shape[:2]) and not model.receptive_field.exact:
            decoded.notes.append(f"blended from tiles of {side}: this network sees too far for exact ones")
        return model.upscale_rows(pixels, options.tile, options.self_ensemble, options.outscale)

    def encode(job: Job, decoded: Decoded, rows: Iterator[np.ndarray]) -> None:
        pixels = decoded.pixels
        shape = model.output_shape(pixels, options.outscale)
        with open_writer(job.target, shape, pixels.dtype, job.format, decoded.quality, decoded.metadata) as writer:
            for block in rows:
                writer.write(block)

    return Steps(decode, compute, encode)


def _sizes(model: Model, decoded: Decoded, options: Options) -> tuple[tuple[int, int], tuple[int, int]]:
    height, width = decoded.pixels.shape[:2]
    tall, wide, _ = model.output_shape(decoded.pixels, options.outscale)
    return (height, width), (tall, wide)


def _as_held(image: ImageData, job: Job) -> np.ndarray:
    """The pixels; without an alpha channel that says nothing where the format holds none."""
    return image.colour if image.opaque and not FORMATS[job.format].alpha else image.pixels


def _reason(job: Job, error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, SrkdError):
        return text if printable_path(job.source) in text else f"{printable_path(job.source)}: {text}"
    return f"{printable_path(job.source)}: {type(error).__name__}: {text}"


def device_named(name: str) -> torch.device:
    """The device of a name; `auto` is this process's GPU if there is one, else the CPU.

    Raises:
        SrkdError: no such device here.
    """
    gpus = torch.cuda.device_count()
    if name == "auto":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % gpus) if gpus else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        return device
    except (RuntimeError, AssertionError) as error:
        raise SrkdError(f'no device "{name}" here: {str(error).splitlines()[0]}') from error


def preview(jobs: Sequence[Job], scale: float, options: Options) -> Iterator[Outcome]:
    """What `upscale_files` would make of each job. Images are read in full, since only that shows damage."""
    for job in jobs:
        if options.skip_existing and job.target.exists():
            yield Outcome(job, "skipped")
            continue
        step = "read"
        try:
            decoded = _decode(job, options)
            step = "written"
            height, width, channels = decoded.pixels.shape
            size = output_size(height, width, scale)
            check_holds(job.target, (*size, channels), FORMATS[job.format])
            yield Outcome(job, "planned", ((height, width), size), tuple(decoded.notes))
        except Exception as error:
            yield Outcome(job, "failed", error=f"cannot be {step}: {_reason(job, error)}")


def share(jobs: Sequence[Job]) -> list[Job]:
    """This process's part of the jobs under torchrun (RANK and WORLD_SIZE); all of them elsewhere."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    return list(jobs[rank::world])
