"""One compression into one folder: its request, teacher and photographs, and its phases, each of which runs once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from srkd.compression.request import Request, Settings, absolute
from srkd.data import photos
from srkd.data.like import like
from srkd.errors import SrkdError
from srkd.executor import Executor, LocalExecutor
from srkd.files.atomic import printable_path, write_json
from srkd.files.lock import locked
from srkd.imitation.teachers import OutputTeacher, open_teacher
from srkd.inference.loading import is_path, load_model
from srkd.inference.model import Model
from srkd.networks import zoo
from srkd.training.processes import say

Result = dict[str, Any]


class Phases:
    """The finished phases of one folder, and the total time spent on it by all processes.

    Args:
        folder: where request.json, a JSON file per phase, and time.json are saved. A request of which no phase was
            finished, such as one that no candidate meets, binds nobody.
        identity: the request as plain data.
        began: when this process began, on `time.monotonic()`'s clock; now if None.

    Raises:
        SrkdError: the folder was started with another request (the message names the differences), or has an invalid
            JSON file.
    """

    def __init__(self, folder: Path, identity: Result, began: float | None = None) -> None:
        self.folder = folder
        saved = self._read("request")
        if saved is not None and saved != identity:
            changed = [key for key in {**saved, **identity} if saved.get(key) != identity.get(key)]
            changes = ", ".join(f"{key} was {saved.get(key)} and is {identity.get(key)}" for key in changed)
            where = printable_path(folder.parent)
            raise SrkdError(
                f"{where} was started with other options: {changes}; restore them, or choose another --output"
            )
        self._identity = identity
        self._before = float((self._read("time") or {"seconds": 0.0})["seconds"])
        self._began = time.monotonic() if began is None else began

    @property
    def spent(self) -> float:
        """Seconds spent so far, without pauses between processes."""
        return self._before + time.monotonic() - self._began

    def done(self, name: str) -> Result | None:
        """The result of a phase, or None if it is not finished."""
        return self._read(name)

    def once(self, name: str, make: Callable[[], Result]) -> Result:
        """The saved result of a phase; runs `make` and saves its result if there is none."""
        found = self._read(name)
        if found is not None:
            return found
        with self.timed():
            result = make()
            write_json(self._path("request"), self._identity)
            write_json(self._path(name), result)
        return result

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Save the time spent when the block ends, however it does."""
        try:
            yield
        finally:
            write_json(self._path("time"), {"seconds": round(self.spent, 1)})

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _read(self, name: str) -> Result | None:
        try:
            return dict(json.loads(self._path(name).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise SrkdError(
                f"{printable_path(self._path(name))}: cannot be read; remove it to run this phase again"
            ) from error


class CompressionJob:
    """One compression into one folder.

    Args:
        out: output folder; intermediate files go to `out/work`.
        dry_run: write only a few crops.
        executor: where the candidates of a round are trained; None: here, one after another.

    Raises:
        SrkdError: as `photos.find` and `load_model`; nothing is written.
    """

    phases: Phases

    def __init__(
        self,
        request: Request,
        out: Path,
        settings: Settings,
        dry_run: bool = False,
        executor: Executor | None = None,
    ) -> None:
        self.executor = executor or LocalExecutor()
        self._began = time.monotonic()  # opening a large teacher takes its share of the time, too
        self.request, self.settings, self.dry_run = request, settings, dry_run
        # Phases and recipes name files below it: they are read again from other folders, and on other machines.
        self.out = out.absolute()
        self.work = self.out / "work"
        self.training, self.held_out = self.work / "pictures" / "training", self.work / "pictures" / "held-out"
        self.teacher: Model | OutputTeacher = self._teacher()
        self.photos, self.left_out = photos.find(request.data, self.smallest)
        if request.like is not None:
            say(f"{request.like}: {like(request.like)}")

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Open the phases, with `work` locked.

        Raises:
            SrkdError: as `Phases` and `locked`.
        """
        with locked(self.work):
            self.phases = Phases(self.work, self.request.identity(), self._began)
            yield

    def _teacher(self) -> Model | OutputTeacher:
        if not self.request.imitate:
            return load_model(self.request.teacher, self.request.scale)
        return open_teacher(self.teacher_spec, student_scale=self.request.scale)

    @property
    def teacher_spec(self) -> dict[str, str]:
        """The teacher as a recipe names it."""
        if self.request.teacher == "auto":
            return {"zoo": zoo.default_model(self.request.scale)}
        if is_path(self.request.teacher) and Path(self.request.teacher).is_file():
            return {"file": absolute(self.request.teacher)}
        return {"zoo": self.request.teacher}

    @property
    def judged(self) -> str:
        """The held-out set as `open_set` takes it: crops of photographs, or if the teacher is imitated its outputs for
        degraded ones."""
        return str((self.phases.done("answers") or {}).get("held out", self.held_out))

    @property
    def patch(self) -> int:
        """Side of an HR patch in pixels."""
        return self.settings.patch * self.request.scale

    @property
    def bank_side(self) -> int:
        """Side in LR pixels of the patches whose outputs are imitated: batches are cut from them."""
        return self.settings.patch + self.settings.bank_margin

    @property
    def smallest(self) -> int:
        """Shortest side of a photograph that can be used, in pixels."""
        return self.bank_side * self.teacher.scale if self.request.imitate else self.patch

    @property
    def teacher_name(self) -> str:
        return next(iter(self.teacher_spec.values()))

    @property
    def left(self) -> float:
        """Remaining seconds of the requested time."""
        return self.request.seconds - self.phases.spent

    def once(self, name: str, make: Callable[[], Result], title: str = "") -> Result:
        """Run a phase (`Phases.once`); if it is not finished yet, log `title` with the remaining time."""
        if title and self.phases.done(name) is None:
            say(f"{title} ({f'{clock(self.left)} left' if self.left > 0 else 'the time is up'})")
        return self.phases.once(name, make)


def clock(seconds: float) -> str:
    """A duration as text: 45 s, 12 min, 1 h 5 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
