"""Something of srkd's in a process of its own that is killed, or starved of something, at a chosen moment.

The process is forked from a server that has imported what commands need, so that one costs a fraction of a second. Its
changes to the file system are counted, and it may be killed just before one of them: every moment at which something
half done could be seen lies between two such changes. One that hangs, crashes or writes elsewhere is a failure.
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
_NEEDED = (
    "lightning_fabric srkd.inference.files srkd.sr.task srkd.studies.comparison srkd.commands.zoo robustness.victims"
)
_SERVER.set_forkserver_preload(_NEEDED.split())
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Ended:
    """How it ended: its exit code (negative for a signal), what it said, how often it changed the file system below its
    folder, where else it did, and its seconds."""

    code: int
    said: str
    changes: int
    strays: tuple[str, ...]
    seconds: float


class Victim:
    """A call that was started, in `folder`, in a process of its own.

    Args:
        call: what it does; what it returns is the exit code. `command` makes one of a command line.
        kill_at: the change to the file system, counted from 1, before which it is killed; 0 for none.
        environment: added to that of the tests.
        log: beside this, and not beside the folder, is what it says.
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
        self._count = _SERVER.Value("i", 0)
        self._began = time.monotonic()
        variables = {"SRKD_CACHE": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": "", **environment}
        watch = _Watch(str(folder), kill_at, self._count, self.strays)
        self._process = _SERVER.Process(target=_live, args=(call, folder, self.log, watch, variables))
        self._process.start()

    def wait(self, seconds: float) -> bool:
        """Whether it ended within so many seconds."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def wait_for_change(self, number: int) -> None:
        """Wait until so many changes to the file system were made, or it ended."""
        while self._count.value < number and not self.wait(0.002):
            pass

    def signal(self, number: signal.Signals) -> None:
        if self._process.pid is not None and self._process.exitcode is None:
            os.kill(self._process.pid, number)

    def end(self, patience: float = 250) -> Ended:
        """Wait for its end. One that hangs is killed, and that is a failure."""
        if not self.wait(patience):
            self.signal(signal.SIGKILL)
            self._process.join()
            raise AssertionError(f"hangs: {self.log.read_text()}")
        assert self._process.exitcode is not None
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        strays = self.strays.read_text().splitlines() if self.strays.exists() else []
        seconds = time.monotonic() - self._began
        return Ended(self._process.exitcode, said, self._count.value, tuple(strays), seconds)


def command(*arguments: str) -> Callable[[], int | None]:
    """A command line of srkd's as a call."""
    return partial(main, arguments)


def run(call: Callable[[], int | None], folder: Path, patience: float = 250, **options: Any) -> Ended:
    """A call from beginning to end, within so many seconds; options as `Victim`."""
    return Victim(call, folder, **options).end(patience)


def _live(
    call: Callable[[], int | None], folder: Path, log: Path, watch: _Watch, environment: Mapping[str, str]
) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # What was forked shares the server's buffers; these are its own.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    watch.begin()
    code = call()
    sys.stdout.flush()
    sys.exit(code)


@dataclass
class _Watch:
    """Counts this process's changes to the file system, and has it die before the one that was chosen."""

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
