"""A watched folder: each image that appears in it is upscaled into another folder."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.images.formats import SUFFIXES
from srkd.images.read import image_header, walk
from srkd.inference.jobs import Job, job_in
from srkd.serve.queue import ACTIVE, FullError, ImageQueue, QueuedImage

_INTERVAL = 1.0  # seconds
_KEPT = 50  # finished images of the folder that stay in the list
Say = Callable[[str], None]
_State = tuple[int, int]  # modification time and size of a file


def check_folders(source: Path, target: Path) -> None:
    """Raise SrkdError unless `source` is a folder and `target` can be another one."""
    if not source.is_dir():
        raise SrkdError(f"--watch {printable_path(source)}: {'not a folder' if source.exists() else 'no such folder'}")
    if target.exists() and not target.is_dir():
        raise SrkdError(f"--output {printable_path(target)}: not a folder")
    if os.path.realpath(source) == os.path.realpath(target):
        raise SrkdError(f"--output {printable_path(target)} is the watched folder; choose another one")


@dataclass
class FolderWatch:
    """Looks into `source` every second; sub-folders and hidden files are left alone.

    An image is upscaled once it has not changed between two looks, unless its result exists in `target`. One that
    fails is tried again when it changes.
    """

    queue: ImageQueue
    source: Path
    target: Path
    model: str
    format: str | None
    say: Say
    _seen: dict[Path, _State] = field(default_factory=dict)
    _done: dict[Path, _State] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _missing: bool = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="srkd-serve-watch", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(_INTERVAL)

    def look(self) -> None:
        """Add the images that are new and complete to the queue."""
        try:
            found = {path: _state(path) for path in sorted(walk(self.source, False)) if path.suffix.lower() in SUFFIXES}
            self._missing = False
        except OSError as error:
            if not self._missing:
                self.say(f"{printable_path(self.source)}: {error.strerror}; waiting for it")
            self._missing = True
            return
        new = {
            path: state
            for path, state in found.items()
            if state is not None and self._seen.get(path) == state and self._done.get(path) != state
        }
        jobs = self._jobs(found) if new else {}
        for path, state in new.items():
            if not self.queue.room:
                break  # the rest at a later look
            self._done[path] = state
            try:
                self._add(path, jobs[path])
            except OSError as error:  # a name that is too long with another suffix, a folder that is gone
                self.say(f"{printable_path(path)}: {error.strerror}")
        self._seen = {path: state for path, state in found.items() if state is not None}
        self._done = {path: state for path, state in self._done.items() if path in self._seen}
        self._forget()

    def _jobs(self, paths: Iterable[Path]) -> dict[Path, Job]:
        """The jobs by source. Where the results of several would have one name, those whose suffix changes keep it
        too: b.tif becomes b.tif.png beside b.png."""
        jobs = [job_in(self.target, path, self.format, "") for path in paths]
        count = Counter(job.target for job in jobs)
        return {Path(job.source): _named_whole(job) if count[job.target] > 1 else job for job in jobs}

    def _add(self, path: Path, job: Job) -> None:
        choice = self.queue.choices[self.model]
        if Path(job.target).exists():
            return
        try:
            header = image_header(path)
            size = header.height, header.width
            self.queue.limits.check_result(*size, choice.scale)
            image = QueuedImage(
                printable_path(path.name),
                choice.name,
                choice.scale,
                path,
                size,
                header.format,
                Path(job.target),
                job.format,
                owned=False,
            )
            self.queue.add(image)
        except FullError:
            del self._done[path]
        except SrkdError as error:
            text = str(error)
            self.say(text if printable_path(path) in text else f"{printable_path(path)}: {text}")

    def _forget(self) -> None:
        """Remove all but the last finished images of the folder from the list; their files stay."""
        ended = [image for image in self.queue if not image.owned and image.state not in ACTIVE]
        self.queue.remove_all(ended[:-_KEPT])


def _named_whole(job: Job) -> Job:
    if job.source.suffix == job.target.suffix:
        return job
    return replace(job, target=job.target.with_name(f"{job.target.stem}{job.source.suffix}{job.target.suffix}"))


def _state(path: Path) -> _State | None:
    """None if the file is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
