"""The jobs of upscaling files: which image is written to which file, planned so that nothing collides, and the summary
of their outcomes."""

from __future__ import annotations

import glob
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.files.names import check_meant_as_folder, check_output, check_part
from srkd.files.remote import Place, Url, is_url, list_files
from srkd.images.animation import is_animation
from srkd.images.formats import (
    FORMATS,
    READ_ONLY,
    SUFFIXES,
    Format,
    format_of_suffix,
    is_image_name,
    is_readable_name,
)
from srkd.images.read import list_images, walk
from srkd.images.write import format_to_write

_MOST_FOLDERS = 5


@dataclass(frozen=True)
class Job:
    """One image: read `source`, write `target` in `format`; with `is_new`, replace no file that has appeared there."""

    source: Place
    target: Place
    format: str
    is_new: bool = False


@dataclass(frozen=True)
class LocalJob(Job):
    """A job whose files are local."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Outcome:
    """The result of a job: "written", "skipped" (its output exists), "failed", or "planned" in a dry run.

    `size` is (height, width) before and after; `error` is the reason of a failure; `backend` is the runtime and
    precision that the image was upscaled with.
    """

    job: Job
    status: str
    size: tuple[tuple[int, int], tuple[int, int]] | None = None
    notes: tuple[str, ...] = ()
    error: str = ""
    backend: str = ""


def plan_jobs(
    inputs: Sequence[str], output: Place, format: str | None = None, suffix: str = "", recursive: bool = False
) -> list[Job]:
    """The jobs for files, folders and globs, local or by URL, sorted, identical in every process.

    `output` is a folder, created if missing, unless it has an image suffix: then it is the file for the only input.
    Targets are named after their sources, with `suffix` before the extension, in `format` or else the format of the
    extension; sources in read-only formats become PNG.
    With `recursive`, sub-folders of input folders are searched and kept. If `output` is inside an input folder, its
    images are not inputs, so that a second run upscales nothing twice. Links to folders are not followed. An input
    named twice is processed once.

    Raises:
        SrkdError: a suffix that cannot be part of a file name, an input that does not exist or match, a folder without
            images, two inputs with the same target, a target that is an input, an output folder that is an input
            folder, one output file for several inputs, an output file of a format that cannot be written, is unknown or
            is not `format`, a name that Windows does not allow there.
    """
    check_part(suffix, "the suffix")
    format = format_to_write(format).name if format is not None else None
    found = _sources(inputs, output, recursive)
    if is_image_name(output) and not output.is_dir():
        jobs = [Job(_only(found, output), output, _format_of(output, format))]
    else:
        if isinstance(output, Path) and len(inputs) == 1 and Path(inputs[0]) == found[0][0]:
            check_meant_as_folder(output, "image format", [s for known in FORMATS.values() for s in known.suffixes])
        jobs = _disambiguate([job_in(output / folder, source, format, suffix) for source, folder in found])
    _check_collisions(jobs)
    for job in jobs:
        if isinstance(job.target, Path):
            check_output(job.target)
    return jobs


def unrecognised_files(inputs: Sequence[str], output: Place | None, recursive: bool = False) -> list[Path]:
    """The files of local folders and globs without a readable image suffix; hidden files and `output` are left out."""
    found: dict[Place, Path] = {}
    for name in (name for name in inputs if not is_url(name)):
        named = os.path.lexists(name)  # an input named explicitly is used whatever its suffix
        for match in [Path(name)] if named else _matches(name):
            files = walk(match, recursive) if match.is_dir() else () if named else (match,)
            for path in files:
                if path.suffix.lower() not in SUFFIXES and not (output and _is_below(path, output)):
                    found.setdefault(absolute(path), path)
    return [found[key] for key in sorted(found)]


def _only(found: Sequence[tuple[Place, PurePath]], output: Place) -> Place:
    if len(found) != 1:
        raise SrkdError(
            f"{printable_path(output)} is named like a file, but there are {len(found)} images; name a folder"
        )
    return found[0][0]


def _format_of(output: Place, asked: str | None) -> str:
    named = format_to_write(output.suffix).name
    if asked not in (None, named):
        raise SrkdError(
            f"{printable_path(output)} is named like {named}, but the requested format is {asked}; make them agree"
        )
    return named


def _sources(inputs: Sequence[str], output: Place, recursive: bool) -> list[tuple[Place, PurePath]]:
    """(file, folder below the output), without duplicates."""
    found: dict[Place, tuple[Place, PurePath]] = {}
    for name in filter(is_url, inputs):
        for url, folder in list_files(name, is_readable_name, recursive):
            if not (_is_below(url, output) and _is_below(output, Url(name))):
                found.setdefault(url, (url, folder))
    for path in (path for name in inputs if not is_url(name) for path in expanded(name)):
        if not path.is_dir():
            found.setdefault(absolute(path), (path, Path()))
            continue
        if not isinstance(output, Url) and _real(path) == _real(output):
            raise SrkdError(f"{printable_path(output)} is an input folder; choose another output folder")
        for image in list_images(path, recursive):
            if not (_is_below(output, path) and _is_below(image, output)):
                found.setdefault(absolute(image), (image, image.parent.relative_to(path)))
    if not found:
        raise SrkdError(f"every image found is in the output folder {printable_path(output)}")
    return [found[key] for key in sorted(found, key=lambda key: (isinstance(key, Url), key))]


def expanded(name: str) -> list[Path]:
    """The path itself if it exists, else its matches as a glob. Raises SrkdError if there are none."""
    path = Path(name)
    if os.path.lexists(path):
        return [path]
    if glob.has_magic(name):
        images = [m for m in _matches(name) if m.is_dir() or m.suffix.lower() in SUFFIXES]
        if images:
            return images
        raise SrkdError(f"{printable_path(name)}: no image or folder matches")
    raise SrkdError(f"{printable_path(name)}: no such file or folder")


def _matches(name: str) -> list[Path]:
    return [Path(match) for match in sorted(glob.glob(name, recursive=True))]


def job_in(folder: Place, source: Place, format: str | None, suffix: str) -> Job:
    """The job of one image with its result in `folder`, named and encoded as `plan_jobs` describes."""
    format = format_to_write(format).name if format is not None else None
    is_named = source.suffix.lower() in SUFFIXES
    extension = source.suffix if is_named else ""
    known = FORMATS[format] if format else _format_for(source, extension)
    extension = extension if extension.lower() in known.suffixes else known.suffixes[0]
    stem = source.stem if is_named else source.name
    return Job(source, folder / f"{stem}{suffix}{extension}", known.name)


def _format_for(source: Place, extension: str) -> Format:
    """The format for the result of a file: its own if that is written, for a GIF only if it is animated; else PNG."""
    known = format_of_suffix(extension) or FORMATS["png"]
    return FORMATS["png"] if known.palette and not is_animation(source) else known


def _disambiguate(jobs: Sequence[Job]) -> list[Job]:
    """Name the target of a.gif a.gif.png if an a.png is an input too: others keep their suffix."""
    replaced = {suffix for known in READ_ONLY.values() for suffix in known.suffixes}
    replaced |= {suffix for known in FORMATS.values() for suffix in known.reads} | set(FORMATS["gif"].suffixes)
    by_target = Counter(absolute(job.target) for job in jobs)
    result = []
    for job in jobs:
        is_replaced = job.source.suffix.lower() in replaced and job.source.suffix != job.target.suffix
        if by_target[absolute(job.target)] > 1 and is_replaced:
            job = replace(job, target=job.target.with_name(f"{job.target.stem}{job.source.suffix}{job.target.suffix}"))
        result.append(job)
    return result


def _check_collisions(jobs: Sequence[Job]) -> None:
    targets: dict[Place, Job] = {}
    sources = {absolute(job.source) for job in jobs}
    for job in jobs:
        target = absolute(job.target)
        if target in sources:
            raise SrkdError(
                f"{printable_path(job.target)} is an input and would be overwritten; choose another output or a "
                "--suffix"
            )
        other = targets.setdefault(target, job)
        if other is not job:
            in_one_folder = other.source.parent == job.source.parent
            raise SrkdError(
                f"{printable_path(other.source)} and {printable_path(job.source)} would both become "
                f"{printable_path(job.target)}; upscale them into different folders"
                + ("" if in_one_folder else ", or keep sub-folders with --recursive")
            )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def absolute(path: Place) -> Place:
    """The path with links resolved in its folders but not in the last part; a URL unchanged."""
    return path if isinstance(path, Url) else _real(path.parent) / path.name


def _is_below(path: Place, folder: Place) -> bool:
    if isinstance(path, Url) or isinstance(folder, Url):
        return isinstance(path, Url) and isinstance(folder, Url) and path.startswith(f"{folder.rstrip('/')}/")
    return _real(folder) in _real(path).parents


def line(outcome: Outcome) -> str:
    """One line with an image, its result and their sizes, or why there is none."""
    source, target = printable_path(outcome.job.source), printable_path(outcome.job.target)
    if outcome.size is None:
        return f"skip {target}: exists" if outcome.status == "skipped" else outcome.error
    (height, width), (tall, wide) = outcome.size
    return f"{source} {width}x{height} -> {target} {wide}x{tall}"


def summary(outcomes: Sequence[Outcome], left: Sequence[Path], model: str = "") -> Iterator[str]:
    """Lines with the number of images per folder and outcome, and the files left out; a single image is named.

    With `model`, a description of the network, one line states it and the backends that were used.
    """
    by = ", ".join(filter(None, [model, *sorted({o.backend for o in outcomes if o.backend})]))
    if len(outcomes) == 1 and outcomes[0].status == "planned":  # its line says all
        yield from _left(left)
        return
    if len(outcomes) == 1 and outcomes[0].status == "written":
        yield f"{line(outcomes[0])} by {by}" if model else line(outcomes[0])
        yield from _left(left)
        return
    yield from _counts(outcomes)
    yield from _left(left)
    if model and any(outcome.status == "written" for outcome in outcomes):
        yield f"upscaled by {by}"


def _counts(outcomes: Sequence[Outcome]) -> Iterator[str]:
    count = Counter(outcome.status for outcome in outcomes)
    for status, words in (("written", "upscaled"), ("planned", "would be upscaled")):
        folders = Counter(
            (o.job.source.parent, o.job.target.parent) for o in outcomes if o.status == status
        ).most_common()
        for (source, target), number in folders[:_MOST_FOLDERS]:
            yield f"{number} {_images(number)} {words} from {printable_path(source)} to {printable_path(target)}"
        if len(folders) > _MOST_FOLDERS:
            number = sum(n for _, n in folders[_MOST_FOLDERS:])
            yield f"{number} {_images(number)} {words} from and to {len(folders) - _MOST_FOLDERS} more folders"
    if count["skipped"]:
        yield f"{count['skipped']} {_images(count['skipped'])} skipped: the output exists"
    if count["failed"]:
        yield f"{count['failed']} {_images(count['failed'])} failed"


def _left(left: Sequence[Path]) -> Iterator[str]:
    if left:
        kinds = Counter(path.suffix.lower() or "without a suffix" for path in left).most_common()
        named = ", ".join(f"{number} {kind}" for kind, number in kinds)
        yield f"{len(left)} {'file' if len(left) == 1 else 'files'} left, not named like an image that is read: {named}"


def as_row(outcome: Outcome) -> dict[str, object]:
    """An outcome as plain data; sizes are [width, height]."""
    job, (before, after) = outcome.job, outcome.size or (None, None)
    return {
        "source": printable_path(job.source),
        "target": printable_path(job.target),
        "format": job.format,
        "status": outcome.status,
        "size": before and before[::-1],
        "upscaled_size": after and after[::-1],
        "notes": outcome.notes,
        "error": outcome.error or None,
    }


def as_json(outcomes: Sequence[Outcome], left: Sequence[Path]) -> str:
    """All outcomes as JSON."""
    return json.dumps({"images": [as_row(o) for o in outcomes], "left": [printable_path(p) for p in left]}, indent=2)


def _images(number: int) -> str:
    return "image" if number == 1 else "images"
