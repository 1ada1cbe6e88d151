"""Runs as Ray tasks. Each has a private copy of its folder, which the driver alone writes back: a lost node leaves
nothing half-done, and a task that runs twice cannot write twice."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.executor import FolderTask, Result, Work, use_threads
from srkd.files.atomic import is_partial, printable_path, write_bytes, write_text
from srkd.files.lock import NAME

Files = dict[str, bytes]

SLICE = 600.0  # seconds after which a task hands in its state: a lost node costs at most this
_RETRIES = 3


class RayExecutor:
    """Runs tasks on the cluster that this process is connected to.

    Args:
        request: resources of a task, as `Cluster.request` returns them. It computes in `num_cpus` threads, because
            results depend on their number.
        slice_seconds: after these a task's files are fetched and it is continued, possibly by another node.
    """

    def __init__(self, request: dict[str, Any], slice_seconds: float = SLICE) -> None:
        self._request, self._slice = request, slice_seconds

    def map(
        self, work: Work, tasks: Sequence[FolderTask], budget: float | None = None
    ) -> Iterator[tuple[int, Result | SrkdError]]:
        """As `srkd.executor.Executor.map`; the folders need not be visible on the nodes."""
        import ray

        deadline = None if budget is None else time.time() + budget
        remote = ray.remote(max_retries=_RETRIES, max_calls=0, **self._request)(_before)
        threads = int(self._request["num_cpus"])

        def submit(number: int) -> Any:
            task = tasks[number]
            files = read_folder(task.folder)
            return remote.remote(deadline, work, task.argument, task.folder.name, files, self._slice, threads)

        sent = [read_folder(task.folder).keys() for task in tasks]
        running = {submit(number): number for number in range(len(tasks))}
        stopped: dict[int, Result] = {}
        while running:
            (reference,), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(reference)
            result = _result(reference)
            if result is None:
                if number in stopped:
                    yield number, stopped[number]
                continue
            if isinstance(result, SrkdError):
                yield number, result
                continue
            outcome, files = result
            replace_folder(tasks[number].folder, files, sent[number])
            sent[number] = files.keys()
            if not outcome["finished"] and (deadline is None or time.time() < deadline):
                stopped[number] = outcome
                running[submit(number)] = number
            else:
                yield number, outcome

    def require(self, folder: Path) -> None:
        """Raise SrkdError if a folder of this machine is not visible, by the same path, on each node."""
        import ray

        from srkd.cluster.connection import alive_nodes, name_of, on_node

        mark = folder.absolute() / f".part-{secrets.token_hex(6)}"
        write_text(mark, mark.name)
        try:
            for node in alive_nodes():
                if not ray.get(on_node(node, _sees, str(mark))):
                    raise SrkdError(
                        f"{printable_path(folder)} is not visible on node {name_of(node)}, whose tasks read files "
                        "there; choose a folder that all nodes share"
                    )
        finally:
            mark.unlink(missing_ok=True)


def _sees(mark: str) -> bool:
    return Path(mark).is_file()


def _result(reference: Any) -> tuple[Result, Files] | SrkdError | None:
    import ray

    try:
        found: tuple[Result, Files] | None = ray.get(reference)
        return found
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SrkdError):
            return SrkdError(str(error.cause))
        return SrkdError(f"{type(error.cause).__name__}: {' '.join(str(error.cause).split())}")
    except ray.exceptions.RayError as error:
        return SrkdError(f"the task was lost {_RETRIES + 1} times: {' '.join(str(error).split())[:200]}")


def _before(
    deadline: float | None, work: Work, argument: Any, name: str, files: Files, seconds: float, threads: int
) -> tuple[Result, Files] | None:
    """In a worker: `_in_private_folder`, until a deadline on the clock of all machines; None if it would begin after
    it: tasks wait until a worker is free."""
    left = seconds if deadline is None else min(seconds, deadline - time.time())
    if deadline is not None and left <= 0:
        return None
    return _in_private_folder(work, argument, name, files, left, threads)


def _in_private_folder(
    work: Work, argument: Any, name: str, files: Files, seconds: float, threads: int
) -> tuple[Result, Files]:
    """In a worker: run a task on a copy of its folder; returns its result and the files."""
    use_own_threads(threads)
    with tempfile.TemporaryDirectory(prefix="srkd-task-") as root:
        folder = Path(root) / name
        replace_folder(folder, files, ())
        result = work(argument, folder, seconds)
        return result, read_folder(folder)


def use_own_threads(count: int | None = None) -> None:
    """Compute in as many threads as the task has CPUs."""
    if count is None:
        import ray

        resources = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
        count = int(resources.get("CPU", 1))
    use_threads(count)


def read_folder(folder: Path) -> Files:
    """The files of a folder by relative path, without locks and unfinished ones; {} if it does not exist."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME and not is_partial(path)
    }


def replace_folder(folder: Path, files: Files, sent: Iterable[str]) -> None:
    """Write files to a folder, each all or nothing, and then remove those of the files that were sent that are gone."""
    for name, data in files.items():
        write_bytes(folder / name, data)
    for name in set(sent) - files.keys():
        (folder / name).unlink(missing_ok=True)
