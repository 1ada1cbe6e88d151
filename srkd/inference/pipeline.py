"""Overlapped decoding, inference and encoding: while one image is computed, the next is read and the last written.

Queues are bounded, so that memory does not grow with the number of images: one image is read ahead, one is being
written, and at most a few blocks of rows wait for the writer.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from srkd.interruption import result, shielded, submitted

Pixels = NDArray[Any]
J = TypeVar("J")
D = TypeVar("D")

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


def overlapped(jobs: Sequence[J], steps: Steps[J, D]) -> Iterator[tuple[J, D | Exception]]:
    """Run the jobs; yields each in order, once its file is written, with the decoded input or its error.

    The pixels are the same as of sequential jobs: images share no state. An interruption (KeyboardInterrupt,
    SystemExit, or the caller closing the generator) stops all three steps and removes unfinished files.
    """
    with ThreadPoolExecutor(1, "decode") as reader, ThreadPoolExecutor(1, "encode") as writer:
        ahead = submitted(reader, steps.decode, jobs[0]) if jobs else None
        last: tuple[J, Future[D]] | None = None
        for number, job in enumerate(jobs):
            assert ahead is not None
            decoded = _outcome(ahead)
            ahead = submitted(reader, steps.decode, jobs[number + 1]) if number + 1 < len(jobs) else None
            written = _compute(job, decoded, steps, writer)
            if last is not None:
                outcome = _outcome(last[1])
                yield last[0], outcome
            last = job, written
        if last is not None:
            outcome = _outcome(last[1])
            yield last[0], outcome


def _compute(job: J, decoded: D | Exception, steps: Steps[J, D], writer: ThreadPoolExecutor) -> Future[D]:
    """Run the network on an image, passing its rows to the writer; returns the writer's future of the decoded input."""
    if isinstance(decoded, Exception):
        failed: Future[D] = Future()
        failed.set_exception(decoded)
        return failed
    rows = RowQueue()
    try:
        rows.writer = future = submitted(writer, _encode, job, decoded, steps, rows)
        for block in steps.compute(job, decoded):
            if not rows.put(np.asarray(block)):
                break
        rows.put(None)
    except Exception as error:
        rows.put(error)
    except BaseException:
        rows.put(Interrupted())
        raise
    return future


def _encode(job: J, decoded: D, steps: Steps[J, D], rows: RowQueue) -> D:
    steps.encode(job, decoded, iter(rows))
    return decoded


def _outcome(future: Future[D]) -> D | Exception:
    """The result of a future, or its exception; interruptions pass through."""
    try:
        return result(future)
    except Exception as error:
        return error
