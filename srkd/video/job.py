"""Upscaling of a clip in segments: each is written whole into a work folder beside the output, so that a killed run is
continued with the first missing one; then they are joined without encoding them again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from srkd.errors import PartialFailure, SrkdError
from srkd.files.atomic import printable_path, write_text
from srkd.files.lock import locked
from srkd.files.names import check_meant_as_folder, check_part
from srkd.files.owned import claim, remove_owned, reset_folder
from srkd.inference.files import Options
from srkd.inference.fingerprint import fingerprint
from srkd.inference.jobs import LocalJob, Outcome
from srkd.inference.model import Model, output_size
from srkd.training.log import Progress
from srkd.video.convert import to_rgb
from srkd.video.overlap import Waits, overlapped
from srkd.video.read import SUFFIXES, Clip, Pixels, decode, probe, pyav
from srkd.video.write import WRITTEN, VideoEncoding, check_target, concatenate, encoding_for, write_segment

SEGMENT_SECONDS = 5.0
_SETTINGS = "settings.json"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Segment:
    """A part of a clip from `start` to before `stop`, in its time base, with the number of its frames."""

    number: int
    start: int
    stop: int
    frames: int

    @property
    def name(self) -> str:
        return f"{self.number:06d}.nut"

    @property
    def damage_name(self) -> str:
        """The file that describes what was damaged in the source, if anything was."""
        return f"{self.number:06d}.damage.txt"


@dataclass
class Upscaled:
    """What was done: `failures` names damaged segments, `frames` were upscaled in this run, in `seconds`, of which the
    network took `network_seconds` and waited `waits`."""

    size: tuple[tuple[int, int], tuple[int, int]]
    frames: int = 0
    seconds: float = 0.0
    network_seconds: float = 0.0
    waits: Waits = field(default_factory=Waits)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        height, width = self.size[1]
        rate, share = self.frames / max(self.seconds, 1e-9), self.network_seconds / max(self.seconds, 1e-9)
        return f"{width}x{height}, {self.frames} frames, {rate:.1f} frames/s, network {share:.0%} of the time"


def plan_clips(inputs: Sequence[str], output: Path, suffix: str = "") -> list[LocalJob]:
    """The jobs for clips: `output` is the file for one, or a folder.

    Raises:
        SrkdError: an input that is not a clip or does not exist, an output that is not a clip, is an input, or would be
            written twice.
    """
    check_part(suffix, "the suffix")
    sources = [Path(name) for name in inputs]
    for source in sources:
        if source.suffix.lower() not in SUFFIXES:
            raise SrkdError(f"{printable_path(source)} is not a video; upscale videos and images in separate commands")
        if not source.is_file():
            raise SrkdError(f"{printable_path(source)}: no such file")
    if len(sources) == 1 and output.suffix.lower() in SUFFIXES and not output.is_dir():
        targets = [output]
    else:
        if len(sources) == 1:
            check_meant_as_folder(output, "video format", WRITTEN)
        targets = [output / f"{source.stem}{suffix}{source.suffix}" for source in sources]
    for target in targets:
        check_target(target)
        if any(target.exists() and target.samefile(other) for other in sources):
            raise SrkdError(f"{printable_path(target)} would overwrite an input; choose another output")
        if targets.count(target) > 1:
            raise SrkdError(f"several inputs would be written to {printable_path(target)}; rename one")
    return [
        LocalJob(source, target, target.suffix[1:].lower()) for source, target in zip(sources, targets, strict=True)
    ]


def is_clip(name: str) -> bool:
    """Whether an input is named like a video."""
    return Path(name).suffix.lower() in SUFFIXES and not Path(name).is_dir()


def split(clip: Clip, seconds: float = SEGMENT_SECONDS) -> list[Segment]:
    """A clip's segments: each starts at a key frame and lasts at least `seconds`, except the last."""
    starts = [int(clip.times[0])]
    for key in clip.keys:
        if (int(key) - starts[-1]) * clip.time_base >= seconds:
            starts.append(int(key))
    bounds = [*starts, max(clip.end, int(clip.times[-1]) + 1)]
    places = np.searchsorted(clip.times, bounds)
    return [
        Segment(number, start, stop, int(last - first))
        for number, (start, stop, first, last) in enumerate(
            zip(bounds[:-1], bounds[1:], places[:-1], places[1:], strict=True)
        )
    ]


def plan_clip(job: LocalJob, scale: float, options: Options) -> tuple[Clip, VideoEncoding]:
    """A clip and the encoding of its upscaled frames. Raises SrkdError as `probe` and `encoding_for`."""
    clip = probe(job.source)
    return clip, encoding_for(clip, job.target, output_size(clip.height, clip.width, scale), options.quality)


def preview_clips(jobs: Sequence[LocalJob], scale: float, options: Options) -> Iterator[Outcome]:
    """The outcomes of a dry run of `upscale_clips`; of each clip only the first frame is decoded."""
    for job in jobs:
        if options.skip_existing and job.target.exists():
            yield Outcome(job, "skipped")
            continue
        try:
            clip, encoding = plan_clip(job, scale, options)
            cut = (f"the file is cut: {clip.cut}",) if clip.cut else ()
            yield Outcome(job, "planned", ((clip.height, clip.width), encoding.size), clip.notes + cut)
        except SrkdError as error:
            yield Outcome(job, "failed", error=str(error))


def upscale_clips(model: Model, jobs: Sequence[LocalJob], options: Options, say: Say, outcomes: list[Outcome]) -> None:
    """Upscale clips one after the other; `outcomes` receives the result of each, also if this raises.

    Raises:
        SrkdError: the only clip failed.
        PartialFailure: a clip was damaged, and what could be decoded was written; or some of several clips failed.
    """
    failed = 0
    for job in jobs:
        source = printable_path(job.source)
        if options.skip_existing and job.target.exists():
            outcomes.append(Outcome(job, "skipped"))
            continue
        try:
            with _one_line(job):
                done = upscale_clip(model, job, options)
        except SrkdError as error:
            outcomes.append(Outcome(job, "failed", error=str(error)))
            if len(jobs) == 1:
                raise
            say(f"failed: {error}")
            failed += 1
            continue
        outcomes.append(Outcome(job, "written", done.size, tuple(done.notes), "; ".join(done.failures)))
        for note in (*done.notes, *done.failures):
            say(f"{source}: {note}")
        say(f"{source} -> {printable_path(job.target)}: {done}")
        failed += bool(done.failures)
    if failed:
        raise PartialFailure(f"{failed} of {len(jobs)} videos failed or are damaged; what could be decoded was written")


@contextmanager
def _one_line(job: LocalJob) -> Iterator[None]:
    """Convert an error of FFmpeg that is left, such as a full disk, to an SrkdError."""
    try:
        yield
    except pyav().error.FFmpegError as error:
        target = printable_path(job.target)
        raise SrkdError(f"{printable_path(job.source)} -> {target}: {error.strerror or error}") from error


def upscale_clip(model: Model, job: LocalJob, options: Options, seconds: float = SEGMENT_SECONDS) -> Upscaled:
    """Upscale a clip; a run that was killed goes on where it stopped.

    Args:
        seconds: the shortest duration of a segment.

    Raises:
        SrkdError: a clip that cannot be upscaled at all; a work folder with other files, or in use. Damage within a
            clip is reported in the result instead.
    """
    clip, encoding = plan_clip(job, options.outscale or model.scale, options)
    done = Upscaled(((clip.height, clip.width), encoding.size), notes=list(clip.notes))
    segments = split(clip, seconds)
    with _work_folder(job, _settings(model, clip, encoding, options, seconds), segments) as folder:
        todo = [segment for segment in segments if not (folder / segment.name).exists()]
        ready = sum(segment.frames for segment in segments) - sum(segment.frames for segment in todo)
        with Progress(f"{job.source.name}, frames", len(clip.times), ready) as progress:
            _Run(model, clip, encoding, options, segments, folder, done, progress, ready).upscale(todo)
        done.failures = [
            (folder / segment.damage_name).read_text(encoding="utf-8")
            for segment in segments
            if (folder / segment.damage_name).exists()
        ]
        if clip.cut:
            done.failures.append(f"the file is cut: {clip.cut}")
        done.notes += concatenate(clip, encoding, [folder / segment.name for segment in segments], job.target)
    remove_owned(folder)
    return done


def _settings(model: Model, clip: Clip, encoding: VideoEncoding, options: Options, seconds: float) -> str:
    """All that the segments depend on, as text: a run goes on only if it is the same."""
    source = clip.path.stat()
    kept = {
        "source": [str(clip.path.absolute()), source.st_size, source.st_mtime_ns],
        "model": [model.name, model.scale, fingerprint(model), *model.backend],
        "options": [options.tile, options.self_ensemble, options.outscale],
        "encoding": asdict(encoding),
        "seconds": seconds,
        "pyav": pyav().__version__,
    }
    return json.dumps(kept, indent=1) + "\n"


@contextmanager
def _work_folder(job: LocalJob, settings: str, segments: Sequence[Segment]) -> Iterator[Path]:
    """The locked work folder beside a job's target, without segments of other settings."""
    folder = job.target.with_name(job.target.name + ".parts")
    claim(folder)
    with locked(folder, wait=False) as free:
        if not free:
            raise SrkdError(f"{printable_path(job.target)} is being written by another process; wait for it")
        found = None
        with suppress(OSError, ValueError):
            found = (folder / _SETTINGS).read_text(encoding="utf-8")
        if found != settings:
            names = [name for segment in segments for name in (segment.name, segment.damage_name)]
            reset_folder(folder, [_SETTINGS, *names])
            write_text(folder / _SETTINGS, settings)
        yield folder


@dataclass(frozen=True)
class _Frame:
    time: int
    pixels: Pixels


@dataclass(frozen=True)
class _End:
    """The end of a segment, and what was damaged in it."""

    damage: str


@dataclass
class _Run:
    """One run over the missing segments of a clip."""

    model: Model
    clip: Clip
    encoding: VideoEncoding
    options: Options
    segments: Sequence[Segment]
    folder: Path
    done: Upscaled
    progress: Progress
    ready: int

    def upscale(self, todo: Sequence[Segment]) -> None:
        started = time.monotonic()
        self.done.waits = overlapped(lambda: self._read(todo), self._compute, lambda items: self._write(todo, items))
        self.done.seconds = time.monotonic() - started

    def _read(self, todo: Sequence[Segment]) -> Iterator[_Frame | _End]:
        for segment in todo:
            intact = 0
            for frame, damaged in decode(self.clip, segment.start, segment.stop):
                yield _Frame(frame.pts, to_rgb(frame, self.clip))
                intact += not damaged
            yield _End(self._damage(segment, segment.frames - intact))

    def _damage(self, segment: Segment, frames: int) -> str:
        if frames <= 0:
            return ""
        place = f"{self.clip.clock(segment.start)} to {self.clip.clock(segment.stop)}"
        return (
            f"segment {segment.number + 1} of {len(self.segments)} ({place}): {frames} of {segment.frames} frames are "
            "damaged or lost"
        )

    def _compute(self, item: _Frame | _End) -> _Frame | _End:
        if isinstance(item, _End):
            return item
        started = time.monotonic()
        options = self.options
        pixels = self.model.upscale(item.pixels, options.tile, options.self_ensemble, options.outscale)
        now = time.monotonic()
        self.done.frames += 1
        self.done.network_seconds += now - started
        self.progress.update(min(self.ready + self.done.frames, self.progress.total))
        return _Frame(item.time, pixels)

    def _write(self, todo: Sequence[Segment], items: Iterator[_Frame | _End]) -> None:
        for segment in todo:
            write_segment(self.folder / segment.name, self.clip, self.encoding, self._frames(segment, items))

    def _frames(self, segment: Segment, items: Iterator[_Frame | _End]) -> Iterator[tuple[int, Pixels]]:
        """(time, pixels) of a segment's frames; its damage is noted before the segment appears."""
        note = self.folder / segment.damage_name
        for item in items:
            if isinstance(item, _End):
                note.unlink(missing_ok=True)
                if item.damage:
                    write_text(note, item.damage)
                return
            yield item.time, item.pixels
