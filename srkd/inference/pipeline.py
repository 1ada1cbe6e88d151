"""Decode, network and encode side by side: while one image is computed, the next is read and the last is written.

Queues are bounded, so that memory does not grow with the number of images: one image is read ahead, one is being
written, and a writer is given at most a few blocks of rows that it has not yet taken.
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
_PATIENCE = 0.05  # seconds between two looks at whether the writer is still there


class Interrupted(Exception):
    """Told to a writer whose image will not be finished, so that it removes what it has of it."""


class Rows:
    """One image's rows on their way from the thread that computes them to the thread that writes them."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Pixels | BaseException | None] = queue.Queue(_BLOCKS_WAITING)
        self.writer: Future[Any] | None = None

    def put(self, rows: Pixels | BaseException | None) -> bool:
        """Hand over rows, an error, or None for the end; False where the writer has already given up."""
        while True:
            with shielded():
                if self.writer is not None and self.writer.done():
                    return False
                try:
                    self._queue.put(rows, timeout=_PATIENCE)
                    return True
                except queue.Full:
                    continue

    def __iter__(self) -> Iterator[Pixels]:
        """The rows as they come. Raises the error that was handed over in place of the rest."""
        while (rows := self._queue.get()) is not None:
            if isinstance(rows, BaseException):
                raise rows
            yield rows


@dataclass(frozen=True)
class Steps(Generic[J, D]):
    """What is done with a job: `decode` it, `compute` its rows from that, `encode` those into its file.

    `decode` and `encode` run in threads of their own, `compute` in the caller's.
    """

    decode: Callable[[J], D]
    compute: Callable[[J, D], Iterator[Pixels]]
    encode: Callable[[J, D, Iterator[Pixels]], None]


def overlapped(jobs: Sequence[J], steps: Steps[J, D]) -> Iterator[tuple[J, D | Exception]]:
    """Do the jobs; yields each in order, when its file is there, with what was decoded or the error that stopped it.

    The pixels are those of one job after the other: nothing is shared between two images. An interruption
    (KeyboardInterrupt, SystemExit, or the caller closing the generator) ends all three steps, and unfinished files go.
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
    """Run the network on an image, its rows going to the writer; returns the writer's promise of what was decoded."""
    if isinstance(decoded, Exception):
        failed: Future[D] = Future()
        failed.set_exception(decoded)
        return failed
    rows = Rows()
    try:
        rows.writer = promise = submitted(writer, _encode, job, decoded, steps, rows)
        for block in steps.compute(job, decoded):
            if not rows.put(np.asarray(block)):
                break
        rows.put(None)
    except Exception as error:
        rows.put(error)
    except BaseException:
        rows.put(Interrupted())
        raise
    return promise


def _encode(job: J, decoded: D, steps: Steps[J, D], rows: Rows) -> D:
    steps.encode(job, decoded, iter(rows))
    return decoded


def _outcome(promise: Future[D]) -> D | Exception:
    """What was promised, or the error in its place; interruptions pass through."""
    try:
        return result(promise)
    except Exception as error:
        return error
