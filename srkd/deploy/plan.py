"""Which picture becomes which file: decided, and refused where two would meet, before anything is read or written."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srkd.errors import SrkdError
from srkd.io.atomic import shown
from srkd.io.images import list_images
from srkd.io.names import check_part
from srkd.io.writers import FORMATS, format_named


@dataclass(frozen=True)
class Job:
    """One picture: read `source`, write `target` in `format`."""

    source: Path
    target: Path
    format: str


def plan(
    inputs: Sequence[str], output: Path, format: str | None = None, suffix: str = "", recursive: bool = False
) -> list[Job]:
    """The jobs for files, folders and globs, sorted, the same on every process that asks.

    `output` is a folder, made if need be, unless there is one input file and `output` ends like a picture. Targets are
    named after their sources, with `suffix` before the extension, and have the format of the extension, or `format`.
    With `recursive`, sub-folders of input folders are kept. Where `output` is inside an input folder its pictures are
    no inputs, so that running twice upscales nothing twice; links to folders are not followed; an input named twice is
    done once.

    Raises:
        SrkdError: a suffix that is no part of a file's name, an input that does not exist or match, a folder without
            pictures, two inputs with one target, a target that is an input, an output folder that is an input folder.
    """
    check_part(suffix, "the suffix")
    found = _sources(inputs, output, recursive)
    single = len(found) == 1 and not output.is_dir() and output.suffix.lower() in _SUFFIXES
    if single:
        jobs = [Job(found[0][0], output, format or format_named(output.suffix).name)]
    else:
        jobs = [_job(source, output / folder, format, suffix) for source, folder in found]
    _refuse_collisions(jobs)
    return jobs


_SUFFIXES = tuple(suffix for known in FORMATS.values() for suffix in known.suffixes)


def _sources(inputs: Sequence[str], output: Path, recursive: bool) -> list[tuple[Path, Path]]:
    """(file, folder below the output), without repetition."""
    found: dict[Path, tuple[Path, Path]] = {}
    for path in (path for name in inputs for path in _expanded(name)):
        if not path.is_dir():
            found.setdefault(_absolute(path), (path, Path()))
            continue
        if _real(path) == _real(output):
            raise SrkdError(f"{shown(output)} is an input folder; choose another output folder")
        for picture in list_images(path, recursive):
            if not (_is_below(output, path) and _is_below(picture, output)):
                found.setdefault(_absolute(picture), (picture, picture.parent.relative_to(path)))
    if not found:
        raise SrkdError(f"every picture found is in the output folder {shown(output)}")
    return [found[key] for key in sorted(found)]


def _expanded(name: str) -> list[Path]:
    """The path itself if there is such a file or folder, else what it matches as a glob."""
    path = Path(name)
    if os.path.lexists(path):
        return [path]
    if glob.has_magic(name):
        matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]
        pictures = [m for m in matches if m.is_dir() or m.suffix.lower() in _SUFFIXES]
        if pictures:
            return pictures
        raise SrkdError(f"{shown(name)}: no picture or folder matches")
    raise SrkdError(f"{shown(name)}: no such file or folder")


def _job(source: Path, folder: Path, format: str | None, suffix: str) -> Job:
    extension = source.suffix if source.suffix.lower() in _SUFFIXES else ""
    if format is None:
        known = format_named(extension) if extension else FORMATS["png"]
        extension = extension or known.suffixes[0]
    else:
        known = format_named(format)
        extension = extension if extension.lower() in known.suffixes else _usual(known.name)
    stem = source.stem if source.suffix.lower() in _SUFFIXES else source.name
    return Job(source, folder / f"{stem}{suffix}{extension}", known.name)


def _usual(format: str) -> str:
    return {"tiff": ".tif", "jpeg": ".jpg"}.get(format, f".{format}")


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    targets: dict[Path, Job] = {}
    sources = {_absolute(job.source) for job in jobs}
    for job in jobs:
        target = _absolute(job.target)
        if target in sources:
            raise SrkdError(
                f"{shown(job.target)} is an input and would be overwritten; choose another output or a --suffix"
            )
        other = targets.setdefault(target, job)
        if other is not job:
            raise SrkdError(
                f"{shown(other.source)} and {shown(job.source)} would both become {shown(job.target)}; "
                "upscale them into different folders, or keep sub-folders with --recursive"
            )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _absolute(path: Path) -> Path:
    """Where a name is, folders resolved; the name itself may be a link and stays."""
    return _real(path.parent) / path.name


def _is_below(path: Path, folder: Path) -> bool:
    return _real(folder) in _real(path).parents
