"""A call of srkd in a subprocess that is killed, or run with a limited resource, at a chosen moment.

The process is forked from a server that has already imported srkd, so that starting one takes a fraction of a second.
Its changes to the file system are counted, and it can be killed just before one of them: an incomplete state can only
be visible between two such changes. A process that hangs, crashes or writes elsewhere is a failure.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from srkd.cli.main import main

_SERVER = multiprocessing.get_context("forkserver")
_NEEDED = "lightning_fabric srkd.inference.files srkd.sr.task srkd.studies.results srkd.commands.zoo robustness.victims"
_SERVER.set_forkserver_preload(_NEEDED.split())
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Ended:
    """The result: exit code (negative for a signal), output, file system changes below its folder, paths changed
    elsewhere, and seconds."""

    code: int
    output: str
    changes: int
    strays: tuple[str, ...]
    seconds: float


class Victim:
    """A call running in `folder` in a subprocess.

    Args:
        call: returns the exit code; `command` creates one from a command line.
        kill_at: the change to the file system, counted from 1, before which it is killed; 0 for none.
        environment: added to that of the tests.
        log: its output is written beside this path instead of beside the folder.
    """

    def __init__(
        self,
        call: Callable[[], int | None],
        folder: Path,
        kill_at: int = 0,
        environment: Mapping[str, str] = {},
        log: Path | None = None,
    ) -> None:
        (log or folder).parent.mkdir(exist_ok=True)
        self.log, self.strays = ((log or folder).with_name(f"{folder.name}.{suffix}") for suffix in ("log", "strays"))
        self._count = _SERVER.RawValue("i", 0)  # without a lock, which a process may hold when it is killed
        self._began = time.monotonic()
        variables = {"SRKD_CACHE": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": "", **environment}
        watch = _Watch(str(folder), kill_at, self._count, self.strays)
        self._process = _SERVER.Process(target=_live, args=(call, folder, self.log, watch, variables))
        self._process.start()

    def wait(self, seconds: float) -> bool:
        """Whether it ended within this time."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def wait_for_change(self, number: int) -> None:
        """Wait for this number of changes to the file system, or its end."""
        while self._count.value < number and not self.wait(0.002):
            pass

    def signal(self, number: signal.Signals) -> None:
        if self._process.pid is not None and self._process.exitcode is None:
            os.kill(self._process.pid, number)

    def end(self, patience: float = 250) -> Ended:
        """Wait for its end; if it hangs it is killed and the test fails."""
        if not self.wait(patience):
            self.signal(signal.SIGKILL)
            self._process.join()
            raise AssertionError(f"hangs: {self.log.read_text()}")
        assert self._process.exitcode is not None
        output = self.log.read_text(errors="replace") if self.log.exists() else ""
        strays = self.strays.read_text().splitlines() if self.strays.exists() else []
        seconds = time.monotonic() - self._began
        return Ended(self._process.exitcode, output, self._count.value, tuple(strays), seconds)


def command(*arguments: str) -> Callable[[], int | None]:
    """A call that runs an srkd command line."""
    return partial(main, arguments)


def run(call: Callable[[], int | None], folder: Path, patience: float = 250, **options: Any) -> Ended:
    """Run a call to its end, within `patience` seconds; options as `Victim`."""
    return Victim(call, folder, **options).end(patience)


def _live(
    call: Callable[[], int | None], folder: Path, log: Path, watch: _Watch, environment: Mapping[str, str]
) -> None:
    os.environ.pop("SRKD_DATA", None)  # what a command writes must not depend on the user's data sets
    os.environ.update(environment)
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # A forked process shares the server's buffers; replace them by its own.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    watch.begin()
    code = call()
    sys.stdout.flush()
    sys.exit(code)


@dataclass
class _Watch:
    """Counts this process's changes to the file system and kills it before the chosen one."""

    folder: str
    kill_at: int
    count: Any
    strays: Path

    def begin(self) -> None:
        self._elsewhere = os.open(self.strays, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        is_open = event == "open" and bool((arguments[2] or 0) & _WRITING)
        if (event not in _CHANGES and not is_open) or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not path.startswith(self.folder):
            if not path.startswith("/dev/"):
                os.write(self._elsewhere, f"{event} {path}\n".encode())
            return
        self.count.value += 1
        if self.count.value == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
