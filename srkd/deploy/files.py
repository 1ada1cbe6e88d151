"""Picture files through a model; one that fails is named at the end and stops no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from srkd.deploy.model import Model, check_tile, output_size
from srkd.deploy.pipeline import Steps, overlapped
from srkd.deploy.plan import Job
from srkd.errors import PartialFailure, SrkdError
from srkd.io.atomic import shown
from srkd.io.images import Picture, picture_size, read_picture
from srkd.io.metadata import Metadata
from srkd.io.writers import FORMATS, open_writer

Say = Callable[[str], None]
_FAILURES = (SrkdError, OSError, RuntimeError, ValueError, MemoryError)


@dataclass(frozen=True)
class Options:
    """How pictures are upscaled and written; `tile`, `self_ensemble` and `outscale` as `Model.upscale`."""

    tile: int | None = None
    self_ensemble: bool = False
    outscale: float | None = None
    quality: int | None = None
    skip_existing: bool = False

    def __post_init__(self) -> None:
        """Refuse before the first picture what would fail with each. Raises SrkdError."""
        check_tile(self.tile)
        output_size(1, 1, 1 if self.outscale is None else self.outscale)


def upscale_files(model: Model, jobs: Sequence[Job], options: Options, say: Say, done: Callable[[int], None]) -> int:
    """Do the jobs; returns how many pictures were written (others may have been skipped).

    `say` gets what is worth telling of a picture, `done` the number of jobs behind us.

    Raises:
        PartialFailure: some could not be done; each has been said, with its reason.
    """
    todo = [job for job in jobs if not (options.skip_existing and job.target.exists())]
    skipped, failures = len(jobs) - len(todo), []
    done(skipped)
    outcomes = overlapped(todo, _steps(model, options))
    for number, (job, outcome) in enumerate(outcomes, 1):
        if isinstance(outcome, Decoded):
            for note in outcome.notes:
                say(f"{shown(job.source)}: {note}")
        elif isinstance(outcome, _FAILURES):
            failures.append(_reason(job, outcome))
        else:
            raise outcome
        done(skipped + number)
    for failure in failures:
        say(f"failed: {failure}")
    written = len(todo) - len(failures)
    if failures:
        raise PartialFailure(f"{len(failures)} of {len(jobs)} pictures failed, {written} were written")
    return written


def upscale_file(model: Model, job: Job, options: Options) -> list[str]:
    """Do one job, holding a few rows of tiles of the result at a time; returns notes on what was changed on the way.

    Raises:
        SrkdError: a picture that cannot be read, or that the format cannot hold; an unwritable folder; a full disk.
    """
    steps = _steps(model, options)
    decoded = steps.decode(job)
    steps.encode(job, decoded, steps.compute(job, decoded))
    return decoded.notes


@dataclass
class Decoded:
    """A picture that was read, as (H, W, C), and what is to be told of it."""

    pixels: np.ndarray
    metadata: Metadata
    notes: list[str]


def _steps(model: Model, options: Options) -> Steps[Job, Decoded]:
    def decode(job: Job) -> Decoded:
        picture = read_picture(job.source)
        return Decoded(_as_held(picture, job), picture.metadata, list(picture.notes))

    def compute(job: Job, decoded: Decoded) -> Iterator[np.ndarray]:
        pixels = decoded.pixels
        side = model.tile_side(pixels.shape[0], pixels.shape[1], options.tile)
        if side < max(pixels.shape[:2]) and not model.receptive_field.exact:
            decoded.notes.append(f"blended from tiles of {side}: this network sees too far for exact ones")
        return model.upscale_rows(pixels, options.tile, options.self_ensemble, options.outscale)

    def encode(job: Job, decoded: Decoded, rows: Iterator[np.ndarray]) -> None:
        pixels = decoded.pixels
        if pixels.dtype == np.uint16 and not FORMATS[job.format].deep:
            decoded.notes.append(f"16 bits rounded to the 8 that {job.format} holds")
        shape = model.output_shape(pixels, options.outscale)
        with open_writer(job.target, shape, pixels.dtype, job.format, options.quality, decoded.metadata) as writer:
            for block in rows:
                writer.write(block)

    return Steps(decode, compute, encode)


def _as_held(picture: Picture, job: Job) -> np.ndarray:
    """The pixels; without an alpha channel that says nothing where the format holds none."""
    return picture.colour if picture.opaque and not FORMATS[job.format].alpha else picture.pixels


def _reason(job: Job, error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, SrkdError):
        return text if shown(job.source) in text else f"{shown(job.source)}: {text}"
    return f"{shown(job.source)}: {type(error).__name__}: {text}"


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


def preview(jobs: Sequence[Job], scale: float, skip_existing: bool) -> Iterator[str]:
    """What `upscale_files` would do, a line a picture, from the headers alone."""
    for job in jobs:
        if skip_existing and job.target.exists():
            yield f"skip {shown(job.target)}: exists"
            continue
        try:
            height, width = picture_size(job.source)
            tall, wide = output_size(height, width, scale)
            yield f"{shown(job.source)} {width}x{height} -> {shown(job.target)} {wide}x{tall}"
        except SrkdError as error:
            yield f"cannot be read: {error}"


def share(jobs: Sequence[Job]) -> list[Job]:
    """This process's part of the jobs under torchrun (RANK and WORLD_SIZE); all of them elsewhere."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    return list(jobs[rank::world])
