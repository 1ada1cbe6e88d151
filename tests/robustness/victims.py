"""A command of srkd's in a process of its own that is killed, or starved of something, at a chosen moment.

The process is forked from a server that has imported what commands need, so that one costs a fraction of a second. Its
changes to the file system are counted, and it may be killed just before one of them: every moment at which something
half done could be seen lies between two such changes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srkd.cli.main import main

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["srkd.cli.main", "srkd.engine.run", "srkd.sr.task", "srkd.deploy.files",
                                "srkd.study.comparison", "srkd.study.zoo", "lightning_fabric", "robustness.victims"])
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative for a signal), what it said, how often it changed the file system,
    and its seconds."""

    code: int
    said: str
    changes: int
    seconds: float


class Victim:
    """A command that was started in `folder`.

    Args:
        kill_at: the change to the file system, counted from 1, before which it is killed; 0 for none.
        first: called in its process before the command.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, kill_at: int = 0,
                 first: Callable[[], Any] | None = None, environment: Mapping[str, str] = {}) -> None:  # fmt: skip
        self.log = folder.with_name(f"{folder.name}.log")
        self._count = _SERVER.Value("i", 0)
        self._began = time.monotonic()
        self._process = _SERVER.Process(
            target=_live,
            args=(list(arguments), folder, self.log, kill_at, self._count, first,
                  {"SRKD_CACHE": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": "", **environment}))  # fmt: skip
        self._process.start()

    def wait(self, seconds: float) -> bool:
        """Whether it ended within so many seconds."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def signal(self, number: signal.Signals) -> None:
        if self._process.pid is not None and self._process.exitcode is None:
            os.kill(self._process.pid, number)

    def end(self, patience: float = 100) -> Ended:
        """Wait for its end. A command that hangs is killed, and that is a failure."""
        if not self.wait(patience):
            self.signal(signal.SIGKILL)
            self._process.join()
            raise AssertionError(f"hangs: {self.log.read_text()}")
        assert self._process.exitcode is not None
        said = self.log.read_text(errors="replace")
        return Ended(self._process.exitcode, said, self._count.value, time.monotonic() - self._began)


def run(arguments: Sequence[str], folder: Path, **options: Any) -> Ended:
    """A command from beginning to end; options as `Victim`."""
    return Victim(arguments, folder, **options).end()


def _live(arguments: list[str], folder: Path, log: Path, kill_at: int, count: Any, first: Callable[[], Any] | None,
          environment: Mapping[str, str]) -> None:  # fmt: skip
    os.environ.update(environment)
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    # What was forked shares the server's buffers; these are its own.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    _watch(str(folder), kill_at, count)
    if first is not None:
        first()
    code = main(arguments)
    sys.stdout.flush()
    sys.exit(code)


def _watch(folder: str, kill_at: int, count: Any) -> None:
    """Count this process's changes below its folder, and die before the one that was chosen."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not _is_change(event, arguments):
            return
        path = os.path.abspath(os.fsdecode(arguments[0])) if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""
        if path.startswith(folder):
            count.value += 1
            if count.value == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    return event in _CHANGES or (event == "open" and bool((arguments[2] or 0) & _WRITING))
