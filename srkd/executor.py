"""Where runs are trained: in this process, in several, or as `srkd.cluster` does it on other machines.

A run is a function of its argument and the files of its folder. It may stop before its end, with its state in the
folder; the next call continues from there.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from srkd.errors import SrkdError

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

Result = dict[str, Any]

Work = Callable[[Any, Path, "float | None"], Result]
"""(argument, folder, seconds after which to stop) to a result, which has a key `finished`: False if it stopped."""


@dataclass(frozen=True)
class FolderTask:
    """The argument of a run, and its folder, of which no other task is at work."""

    argument: Any
    folder: Path


class Executor(Protocol):
    """Runs tasks; results are the same wherever that is."""

    def map(
        self, work: Work, tasks: Sequence[FolderTask], budget: float | None = None
    ) -> Iterator[tuple[int, Result | SrkdError]]:
        """Yield the number and result of each task as it ends, with its files in its folder.

        A task that raises SrkdError, or is lost, yields the error.

        Args:
            budget: seconds after which unfinished tasks stop. Those that had not begun by then may be left out.
        """
        ...

    def require(self, folder: Path) -> None:
        """Raise SrkdError if a folder that tasks read is not found on a machine."""
        ...


class LocalExecutor:
    """Runs the tasks in turn, in this process."""

    def map(
        self, work: Work, tasks: Sequence[FolderTask], budget: float | None = None
    ) -> Iterator[tuple[int, Result | SrkdError]]:
        for number, task in enumerate(tasks):
            try:
                result: Result | SrkdError = work(task.argument, task.folder, budget)
            except SrkdError as error:
                result = error
            yield number, result

    def require(self, folder: Path) -> None:
        pass


class ProcessExecutor:
    """Runs several tasks at a time on this machine, each in a process of its own.

    A small network computes little between two synchronisations of its threads, so that two processes of one thread
    train faster than one of two. An interruption stops the tasks as it would stop them here: with their state saved.

    Args:
        jobs: number of processes.
        threads: of each.
    """

    def __init__(self, jobs: int, threads: int) -> None:
        self.jobs, self.threads = jobs, threads

    def map(
        self, work: Work, tasks: Sequence[FolderTask], budget: float | None = None
    ) -> Iterator[tuple[int, Result | SrkdError]]:
        deadline = None if budget is None else time.time() + budget
        left = dict(enumerate(tasks))
        while left:
            before = len(left)
            for number, result in self._map(work, left, deadline):
                del left[number]
                if result is not None:
                    yield number, result
            if len(left) == before:  # a process is killed before any task ends: find out whether by the first one
                first = next(iter(left))
                killed = SrkdError("its process was killed, perhaps for lack of memory: use fewer --jobs")
                alone = dict(self._map(work, {first: left.pop(first)}, deadline)).get(first, killed)
                if alone is not None:
                    yield first, alone

    def _map(
        self, work: Work, tasks: Mapping[int, FolderTask], deadline: float | None
    ) -> Iterator[tuple[int, Result | SrkdError | None]]:
        """The results of the tasks that end before a process is killed, with which a pool loses all others."""
        context = multiprocessing.get_context("spawn")
        stopping = context.Event()
        with ProcessPoolExecutor(self.jobs, context, _prepare, (self.threads, stopping)) as pool:
            started = {pool.submit(_before, deadline, work, task): number for number, task in tasks.items()}
            try:
                for future in as_completed(started):
                    with suppress(BrokenProcessPool):
                        yield started[future], future.result()
            except BaseException:
                stopping.set()
                for process in multiprocessing.active_children():
                    process.terminate()
                raise

    def require(self, folder: Path) -> None:
        pass


def _before(deadline: float | None, work: Work, task: FolderTask) -> Result | SrkdError | None:
    """The result of a task in a process of the pool, or its error; None if it would begin after the deadline, or after
    an interruption."""
    left = None if deadline is None else deadline - time.time()
    if (left is not None and left <= 0) or _stopping.is_set():
        return None
    try:
        return work(task.argument, task.folder, left)
    except SrkdError as error:
        return error


_stopping: Event  # of a process of the pool


def _prepare(threads: int, stopping: Event) -> None:
    """Set up a process of the pool."""
    global _stopping
    _stopping = stopping
    use_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # between tasks; a training records it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def use_threads(count: int) -> None:
    """Compute in this many threads, at least one, in this process and those that it starts."""
    import torch

    os.environ["OMP_NUM_THREADS"] = str(count)
    torch.set_num_threads(max(1, count))


def _end_with_parent() -> None:
    """End this process when the one that started it ends, which a SIGKILL does not tell it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
