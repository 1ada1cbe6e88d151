"""The folder of a run: locked while it trains, and renamed when another run of its name starts."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path, writing
from srkd.files.lock import locked_itself
from srkd.training.processes import is_leader

_MARKS = ("recipe.yml", "training_states", "metrics.jsonl", "stage_1")  # of a run


class RunFolder:
    """The folder of a run. Used by the first process only; in the others nothing happens."""

    def __init__(self, path: Path) -> None:
        self.path, self._is_locked = path, False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder inside the block: at once if it exists, otherwise when `create` makes it.

        Raises:
            SrkdError: another process trains there, or the folder contains something other than a run.
        """
        with ExitStack() as self._locks:
            if is_leader() and self.path.exists():
                if not self._is_run():
                    raise SrkdError(
                        f"{printable_path(self.path)} exists and is not a run of srkd; train under another name or "
                        "--output"
                    )
                self._lock()
            yield
        self._is_locked = False

    def create(self, resume: bool, before_renaming: Callable[[], None]) -> Path | None:
        """Create and lock the folder. One of an older run is renamed, unless that run is resumed.

        Args:
            before_renaming: called first; whatever it raises leaves the older run as it is.

        Returns:
            The older run's new path, or None.
        """
        moved = None
        if self.path.exists():
            if not self._is_locked:  # it did not exist when this training started
                self._lock()
            if resume:
                return None
            before_renaming()
            moved = _unused(f"{self.path}_archived_{time.strftime('%Y%m%d_%H%M%S')}")
            os.replace(self.path, moved)
            self._locks.close()
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._lock()
        return moved

    def _lock(self) -> None:
        if not self._locks.enter_context(locked_itself(self.path)):
            raise SrkdError(
                f"{printable_path(self.path)}: another process is training there; wait for it, or train under another "
                "name"
            )
        self._is_locked = True

    def _is_run(self) -> bool:
        """Whether it is a run's or contains only hidden files: then it may be renamed or written to."""
        return self.path.is_dir() and (
            any((self.path / mark).exists() for mark in _MARKS)
            or all(path.name.startswith(".") for path in self.path.iterdir())
        )


def _unused(name: str) -> Path:
    """The first path of this name, or with a number appended, that does not exist."""
    paths = (Path(name if not number else f"{name}_{number}") for number in itertools.count())
    return next(path for path in paths if not os.path.lexists(path))
