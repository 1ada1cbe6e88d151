"""Overlapped decoding, inference and encoding: while one image is computed, the next is read and the last written.

Queues are bounded, so that memory does not grow with the number of images: one image is read ahead, one is being
written, and at most a few blocks of rows wait for the writer.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from srkd.interruption import result, shielded, submitted

Pixels = NDArray[Any]
J = TypeVar("J")
D = TypeVar("D")
Begun: TypeAlias = deque[tuple[J, Future[D]]]  # jobs that were computed and not yet reported, the oldest first

_BLOCKS_WAITING = 4
_POLL_SECONDS = 0.05  # between two checks that the writer is still running


class Interrupted(Exception):
    """Passed to the writer of an image that will not be finished, so that it removes its unfinished file."""


class RowQueue:
    """A queue of one image's rows from the computing to the writing thread."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Pixels | BaseException | None] = queue.Queue(_BLOCKS_WAITING)
        self.writer: Future[Any] | None = None

    def put(self, rows: Pixels | BaseException | None) -> bool:
        """Enqueue rows, an error, or None for the end; returns False if the writer has already stopped."""
        while True:
            with shielded():
                if self.writer is not None and self.writer.done():
                    return False
                try:
                    self._queue.put(rows, timeout=_POLL_SECONDS)
                    return True
                except queue.Full:
                    continue

    def __iter__(self) -> Iterator[Pixels]:
        """Yield the rows as they arrive. Raises an error that was enqueued."""
        while (rows := self._queue.get()) is not None:
            if isinstance(rows, BaseException):
                raise rows
            yield rows


@dataclass(frozen=True)
class Steps(Generic[J, D]):
    """The steps of a job: `decode` it, `compute` its rows, `encode` the rows into its file.

    `decode` and `encode` each run in a thread of their own, `compute` in the caller's.
    """

    decode: Callable[[J], D]
    compute: Callable[[J, D], Iterator[Pixels]]
    encode: Callable[[J, D, Iterator[Pixels]], None]


def overlapped(jobs: Sequence[J], steps: Steps[J, D], ended: Callable[[J, D | Exception], None]) -> None:
    """Run the jobs; `ended` receives each in order, once its file is written, with the decoded input or its error.

    The pixels are the same as of sequential jobs: images share no state. An interruption (KeyboardInterrupt or
    SystemExit) stops all three steps and removes unfinished files; `ended` still receives the jobs whose files were
    finished, and is not interrupted itself.
    """
    begun: Begun[J, D] = deque()
    try:
        with ThreadPoolExecutor(1, "decode") as reader, ThreadPoolExecutor(1, "encode") as writer:
            ahead = submitted(reader, steps.decode, jobs[0]) if jobs else None
            for number, job in enumerate(jobs):
                assert ahead is not None
                decoded = _outcome(ahead)
                ahead = submitted(reader, steps.decode, jobs[number + 1]) if number + 1 < len(jobs) else None
                _compute(job, decoded, steps, writer, begun)
                _report(begun, ended, keep=1)
            _report(begun, ended)
    except BaseException:
        _report(begun, ended)  # the writer's thread has ended, with files that are whole or removed
        raise


def _report(begun: Begun[J, D], ended: Callable[[J, D | Exception], None], keep: int = 0) -> None:
    """Wait for the oldest jobs and report them, until `keep` are left; those that were interrupted are dropped."""
    while len(begun) > keep:
        outcome = _outcome(begun[0][1])
        with shielded():
            job, _ = begun.popleft()
            if not isinstance(outcome, Interrupted):
                ended(job, outcome)


def _compute(
    job: J, decoded: D | Exception, steps: Steps[J, D], writer: ThreadPoolExecutor, begun: Begun[J, D]
) -> None:
    """Run the network on an image, passing its rows to the writer, whose future of the decoded input joins `begun`."""
    if isinstance(decoded, Exception):
        failed: Future[D] = Future()
        failed.set_exception(decoded)
        begun.append((job, failed))
        return
    rows = RowQueue()
    try:
        rows.writer = future = submitted(writer, _encode, job, decoded, steps, rows)
        begun.append((job, future))
        for block in steps.compute(job, decoded):
            if not rows.put(np.asarray(block)):
                break
        rows.put(None)
    except Exception as error:
        rows.put(error)
    except BaseException:
        rows.put(Interrupted())
        raise


def _encode(job: J, decoded: D, steps: Steps[J, D], rows: RowQueue) -> D:
    steps.encode(job, decoded, iter(rows))
    return decoded


def _outcome(future: Future[D]) -> D | Exception:
    """The result of a future, or its exception; interruptions pass through."""
    try:
        return result(future)
    except Exception as error:
        return error
