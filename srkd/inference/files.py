"""Upscaling of image files; a file that fails is reported at the end and does not stop the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from srkd.errors import PartialFailure, SrkdError
from srkd.files.atomic import printable_path
from srkd.files.remote import existing, local_target
from srkd.images import decoders
from srkd.images.animation import Animation, is_animation, open_animation, open_animation_writer
from srkd.images.formats import FORMATS, READ_ONLY, check_holds
from srkd.images.metadata import Metadata, fit_metadata
from srkd.images.read import ImageData, read_image
from srkd.images.write import open_writer, to_depth
from srkd.inference.jobs import Job, Outcome
from srkd.inference.model import Model, check_tile, output_size
from srkd.inference.pipeline import Steps, overlapped
from srkd.inference.wrap import check_seamless, upscale_wrapped
from srkd.training.malloc import return_freed_memory

Say = Callable[[str], None]
J = TypeVar("J", bound=Job)

_LARGE = 64 * 2**20  # bytes of an image


@dataclass(frozen=True)
class Options:
    """How images are upscaled and written; `tile`, `self_ensemble` and `outscale` as in `Model.upscale`; with `wrap`
    opposite borders meet."""

    tile: int | None = None
    self_ensemble: bool = False
    outscale: float | None = None
    quality: int | None = None
    skip_existing: bool = False
    wrap: bool = False

    def __post_init__(self) -> None:
        """Raise SrkdError for values that would fail with every image."""
        check_tile(self.tile)
        output_size(1, 1, 1 if self.outscale is None else self.outscale)


def upscale_files(
    model: Model,
    jobs: Sequence[Job],
    options: Options,
    say: Say,
    done: Callable[[int], None],
    outcomes: list[Outcome] | None = None,
) -> int:
    """Run the jobs; returns the number of images written (others may have been skipped).

    `say` receives notes on images, `done` the number of finished jobs, and `outcomes` the result of each job, also if
    this raises.

    Raises:
        PartialFailure: some jobs failed; each has been reported with its reason.
    """
    outcomes = [] if outcomes is None else outcomes
    todo: list[Job] = []
    skipped: list[Job] = []
    present = existing(job.target for job in jobs) if options.skip_existing else set()
    for job in jobs:
        (skipped if job.target in present else todo).append(job)
    outcomes += [Outcome(job, "skipped") for job in skipped]
    done(len(skipped))

    def ended(job: Job, result: Decoded | Exception) -> None:
        outcomes.append(_ended(model, job, result, options))
        for note in outcomes[-1].notes:
            say(f"{printable_path(job.source)}: {note}")
        done(len(outcomes))

    overlapped(todo, _steps(model, options), ended)
    return conclude(outcomes, len(jobs), len(todo), say)


def _ended(model: Model, job: Job, result: Decoded | Exception, options: Options) -> Outcome:
    """The outcome of a job that ended with its decoded image, now written, or an error."""
    if isinstance(result, Exception):
        return Outcome(job, "failed", error=_reason(job, result))
    backend = " ".join(model.backend_of(result.pixels, options.self_ensemble))
    return Outcome(job, "written", _sizes(model, result, options), tuple(result.notes), backend=backend)


def conclude(outcomes: Sequence[Outcome], jobs: int, tried: int, say: Say) -> int:
    """Report what failed; returns how many of the `tried` images were written, of `jobs` with those skipped.

    Raises:
        PartialFailure: some failed.
        SrkdError: the only one failed.
    """
    failures = [outcome.error for outcome in outcomes if outcome.status == "failed"]
    if failures and jobs == 1:
        raise SrkdError(failures[0])
    for failure in failures:
        say(f"failed: {failure}")
    written = tried - len(failures)
    if failures:
        raise PartialFailure(f"{len(failures)} of {jobs} images failed, {written} were written")
    return written


@dataclass
class Decoded:
    """An image that was read: pixels (H, W, C), how to write it, and notes for the user.

    `pixels` of an animation are those of its first frame.
    """

    pixels: np.ndarray
    metadata: Metadata
    quality: int | None
    notes: list[str]
    animation: Animation | None = None


def _few_colours(format: str) -> str:
    return "gif has at most 256 colours: " + ("reduced to them" if format == "gif" else f"saved as {format}")


def _decode(job: Job, options: Options) -> Decoded:
    """Read an image and note what its output format cannot store."""
    animation = open_animation(job.source)
    if animation is not None:
        return _decode_animation(animation, job, options)
    image = read_image(job.source)
    pixels, notes, format = _storable_pixels(image, job), list(image.notes), FORMATS[job.format]
    if image.format in READ_ONLY:
        notes.append(f"{image.format} can be read but not written: saved as {job.format}")
    if image.format != job.format and "gif" in (image.format, job.format):
        notes.append(_few_colours(job.format))
    if pixels.dtype == np.uint16 and format.bits < 16 and image.format != job.format:
        notes.append(f"16 bits rounded to the {format.bits} of {job.format}")
    metadata = image.metadata
    if format.only_srgb and metadata.icc:
        pixels, metadata, note = _in_srgb(pixels, metadata, job)
        notes += note
    metadata, lost = fit_metadata(metadata, format, pixels.shape[2] < 3)
    if lost:
        notes.append(f"{job.format} cannot store its {', '.join(lost)}")
    lossless = image.lossless and image.format == job.format and options.quality is None
    if lossless and not format.exact:
        notes.append(f"{job.format} is not written losslessly: saved with quality 100; choose png for exact pixels")
    return Decoded(pixels, metadata, 100 if lossless else options.quality, notes)


def _decode_animation(animation: Animation, job: Job, options: Options) -> Decoded:
    format, notes = FORMATS[job.format], list(animation.notes)
    if not format.animated:
        several = ", ".join(known.name for known in FORMATS.values() if known.animated)
        raise SrkdError(
            f"{printable_path(job.source)}: an animation of {len(animation.durations)} frames, and {job.format} stores "
            f"one image; choose {several}"
        )
    metadata, lost = fit_metadata(animation.metadata, format, grey=False)
    if lost:
        notes.append(f"{job.format} cannot store its {', '.join(lost)}")
    lossless = animation.lossless and format.exact and options.quality is None
    first = next(animation.frames())
    return Decoded(first, metadata, 100 if lossless else options.quality, notes, animation)


def _in_srgb(pixels: np.ndarray, metadata: Metadata, job: Job) -> tuple[np.ndarray, Metadata, list[str]]:
    """Pixels of 8 bits in sRGB, metadata without a profile, and notes."""
    assert metadata.icc is not None
    without = replace(metadata, icc=None)
    if decoders.is_srgb(metadata.icc):
        return pixels, without, []
    converted = decoders.to_srgb(to_depth(pixels, deep=False), metadata.icc)
    if converted is None:
        return pixels, metadata, []
    return converted, without, [f"colours converted to sRGB: {job.format} is written without a colour profile"]


def _steps(model: Model, options: Options) -> Steps[Job, Decoded]:
    def decode(job: Job) -> Decoded:
        decoded = _decode(job, options)
        if decoded.pixels.nbytes > _LARGE:
            return_freed_memory()  # the decoder's copy
        return decoded

    def compute(job: Job, decoded: Decoded) -> Iterator[np.ndarray]:
        pixels = decoded.pixels
        side = model.tile_side(pixels.shape[0], pixels.shape[1], options.tile)
        if side < max(pixels.shape[:2]) and not model.receptive_field.exact:
            decoded.notes.append(f"blended from tiles of {side}: the receptive field is too large for exact ones")
        if decoded.animation is not None:
            return _upscaled_frames(model, decoded.animation, options)
        return _upscaled(model, pixels, options)

    def encode(job: Job, decoded: Decoded, rows: Iterator[np.ndarray]) -> None:
        pixels = decoded.pixels
        shape = model.output_shape(pixels, options.outscale)
        if decoded.animation is not None:
            _write_frames(job, shape, decoded, rows)
            return
        with (
            local_target(job.target) as path,
            open_writer(path, shape, pixels.dtype, job.format, decoded.quality, decoded.metadata, job.is_new) as writer,
        ):
            for block in rows:
                writer.write(block)

    return Steps(decode, compute, encode)


def _upscaled(model: Model, pixels: np.ndarray, options: Options) -> Iterator[np.ndarray]:
    upscale = partial(upscale_wrapped, model) if options.wrap else model.upscale_rows
    return upscale(pixels, options.tile, options.self_ensemble, options.outscale)


def _upscaled_frames(model: Model, animation: Animation, options: Options) -> Iterator[np.ndarray]:
    """Whole frames; one that equals its predecessor is computed once."""
    before: np.ndarray = np.empty(0)
    result: np.ndarray = np.empty(0)
    for frame in animation.frames():
        if not np.array_equal(frame, before):
            result = np.concatenate(list(_upscaled(model, frame, options)))
        yield result
        before = frame


def _write_frames(job: Job, shape: tuple[int, int, int], decoded: Decoded, frames: Iterator[np.ndarray]) -> None:
    assert decoded.animation is not None
    timing = decoded.animation.durations, decoded.animation.plays
    with (
        local_target(job.target) as path,
        open_animation_writer(path, shape, timing, job.format, decoded.quality, decoded.metadata, job.is_new) as writer,
    ):
        for frame in frames:
            writer.write(frame)


def upscale_observed(
    model: Model,
    job: Job,
    options: Options,
    decoded: Callable[[np.ndarray], None],
    progress: Callable[[float], None],
) -> Outcome:
    """Run one job in this thread.

    `decoded` receives the pixels (H, W, C) that were read, and `progress` after each row of tiles the share of the
    output that was computed. Whatever they raise ends the job, as an error does, without leaving a file.

    Raises:
        SrkdError: the image cannot be read or upscaled, or the result cannot be written.
    """
    if is_animation(job.source):
        raise SrkdError(f"{printable_path(job.source)}: an animation; upscale it by the command srkd upscale")
    steps = _steps(model, options)
    image = steps.decode(job)
    decoded(image.pixels)
    _, (tall, _) = _sizes(model, image, options)

    def rows() -> Iterator[np.ndarray]:
        done = 0
        for block in steps.compute(job, image):
            yield block
            done += len(block)
            progress(done / tall)

    steps.encode(job, image, rows())
    return _ended(model, job, image, options)


def _sizes(model: Model, decoded: Decoded, options: Options) -> tuple[tuple[int, int], tuple[int, int]]:
    height, width = decoded.pixels.shape[:2]
    tall, wide, _ = model.output_shape(decoded.pixels, options.outscale)
    return (height, width), (tall, wide)


def _storable_pixels(image: ImageData, job: Job) -> np.ndarray:
    """The pixels, without a fully opaque alpha channel if the format has no alpha."""
    return image.colour if image.opaque and not FORMATS[job.format].alpha else image.pixels


def _reason(job: Job, error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, SrkdError):
        return text if printable_path(job.source) in text else f"{printable_path(job.source)}: {text}"
    return f"{printable_path(job.source)}: {type(error).__name__}: {text}"


def preview(jobs: Sequence[Job], scale: float, options: Options) -> Iterator[Outcome]:
    """The outcomes of a dry run of `upscale_files`. Images are decoded in full, because only that finds damage."""
    present = existing(job.target for job in jobs) if options.skip_existing else set()
    for job in jobs:
        if job.target in present:
            yield Outcome(job, "skipped")
            continue
        step = "read"
        try:
            decoded = _decode(job, options)
            height, width, channels = decoded.pixels.shape
            step = "upscaled"
            if options.wrap:
                check_seamless(height, width, scale)
            step = "written"
            size = output_size(height, width, scale)
            check_holds(job.target, (*size, channels), FORMATS[job.format])
            yield Outcome(job, "planned", ((height, width), size), tuple(decoded.notes))
        except Exception as error:
            yield Outcome(job, "failed", error=f"cannot be {step}: {_reason(job, error)}")


def share(jobs: Sequence[J]) -> list[J]:
    """This process's part of the jobs under torchrun (RANK and WORLD_SIZE); all of them without it."""
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    return list(jobs[rank::world])
