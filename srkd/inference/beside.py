"""Names for results that are written beside their inputs: photo.jpg to photo_x2.jpg, the folder photos to photos_x2."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.files.names import check_part
from srkd.files.remote import Place, is_url
from srkd.inference.jobs import Job, absolute, expanded, job_in, plan_jobs


def check_inputs(inputs: Sequence[str]) -> None:
    """Raise SrkdError for a URL, or an input that does not exist or match; nothing is read."""
    for name in inputs:
        if is_url(name):
            raise SrkdError(f"{printable_path(name)}: name the output of a URL with -o")
        expanded(name)


def plan_beside(
    inputs: Sequence[str], suffix: str, format: str | None = None, recursive: bool = False, reuse: bool = False
) -> list[Job]:
    """The jobs for files, folders and globs, each with its result beside it.

    The result of a file is named after it with `suffix` before the extension, that of a folder is a folder with
    `suffix` after its name. A name that exists gets the next free number: photo_x2_2.jpg. Formats are those of
    `srkd.inference.jobs.plan_jobs`.

    Args:
        reuse: take the first name although it exists, for `--skip-existing`; an input that is the result of another
            is left out.

    Raises:
        SrkdError: as `plan_jobs`; a folder without a name, such as /; several processes (torchrun), which would see
            each other's results as existing files.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise SrkdError("several processes need the name of one output folder: give it with -o")
    check_part(suffix, "the suffix")
    names = _Names(reuse)
    jobs: dict[Place, Job] = {}
    for path in (path for name in inputs for path in expanded(name)):
        if path.is_dir():
            target = names.free(_beside(path, suffix), is_folder=True)
            planned = plan_jobs([str(path)], target, format, "", recursive)
        else:
            planned = [job_in(path.parent, path, format, suffix)]
        for job in planned:
            jobs.setdefault(absolute(job.source), job)
    if reuse:
        results = {absolute(job.target) for job in jobs.values()}
        jobs = {source: job for source, job in jobs.items() if source not in results}
    return [
        Job(job.source, names.free(job.target), job.format, is_new=not reuse) if _is_beside(job) else job
        for _, job in sorted(jobs.items())
    ]


def _is_beside(job: Job) -> bool:
    return job.source.parent == job.target.parent


def _beside(folder: Path, suffix: str) -> Path:
    named = folder if folder.name not in ("", "..") else Path(os.path.realpath(folder))
    if not named.name:
        raise SrkdError(f"{printable_path(folder)}: nothing can be written beside this folder; name one with -o")
    return named.with_name(f"{named.name}{suffix}")


class _Names:
    """Chooses names that are neither taken on disk nor chosen before."""

    def __init__(self, reuse: bool) -> None:
        self._reuse = reuse
        self._chosen: set[Place] = set()

    def free(self, path: Place, is_folder: bool = False) -> Place:
        """The path, or the first of its numbered names that is free."""
        stem, extension = (path.name, "") if is_folder else (path.stem, path.suffix)
        for number in count(1):
            name = path.name if number == 1 else f"{stem}_{number}{extension}"
            found = path.with_name(name)
            exists = os.path.lexists(found) and not self._reuse
            if not exists and absolute(found) not in self._chosen:
                break
        self._chosen.add(absolute(found))
        return found
