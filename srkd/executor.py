"""Where runs are trained: in this process, or as `srkd.cluster` does it on other machines.

A run is a function of its argument and the files of its folder. It may stop before its end, with its state in the
folder; the next call continues from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from srkd.errors import SrkdError

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
            budget: seconds after which unfinished tasks stop.
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
