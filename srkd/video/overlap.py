"""Decoding, network and encoding of frames at the same time, in three threads with bounded queues between them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from srkd.inference.pipeline import Interrupted
from srkd.interruption import result, shielded, submitted

T = TypeVar("T")
U = TypeVar("U")

_WAITING = 4  # frames in each queue
_POLL_SECONDS = 0.05  # between two checks that the other side is still running
_END = object()


@dataclass(frozen=True)
class Waits:
    """Seconds that the network waited for decoded frames, and for room for its results."""

    decoding: float = 0.0
    encoding: float = 0.0


class Channel(Generic[T]):
    """A bounded queue between two threads. After `close` both sides raise Interrupted.

    `seconds_full` and `seconds_empty` are the times that the sender and the receiver have waited.
    """

    def __init__(self) -> None:
        self.seconds_full = self.seconds_empty = 0.0
        self._queue: queue.Queue[Any] = queue.Queue(_WAITING)
        self._closed = threading.Event()

    def close(self) -> None:
        self._closed.set()

    def put(self, item: T) -> None:
        """Add an item, once there is room for it."""
        self._put(item)

    def end(self) -> None:
        """Let the iteration end after the items so far."""
        self._put(_END)

    def _put(self, item: Any) -> None:
        started = time.monotonic()
        while not self._closed.is_set():
            with shielded():
                try:
                    self._queue.put(item, timeout=_POLL_SECONDS)
                except queue.Full:
                    continue
            self.seconds_full += time.monotonic() - started
            return
        raise Interrupted

    def __iter__(self) -> Iterator[T]:
        started = time.monotonic()
        while not self._closed.is_set():
            with shielded():
                try:
                    item = self._queue.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    continue
            self.seconds_empty += time.monotonic() - started
            if item is _END:
                return
            yield item
            started = time.monotonic()
        raise Interrupted


def overlapped(
    read: Callable[[], Iterator[T]], compute: Callable[[T], U], write: Callable[[Iterator[U]], None]
) -> Waits:
    """Run `write(compute(item) for item in read())`, with `read` and `write` in threads of their own.

    If one of the three raises, or an interruption arrives, the others stop; then `write` finds its input to raise
    Interrupted, and must not take what it got for complete. The first error is raised.

    Returns:
        How long `compute` waited for the other two.
    """
    items: Channel[T] = Channel()
    results: Channel[U] = Channel()

    def reading() -> None:
        try:
            for item in read():
                items.put(item)
            items.end()
        except BaseException:
            items.close()
            raise

    def writing() -> None:
        try:
            write(iter(results))
        except BaseException:
            results.close()
            raise

    with ThreadPoolExecutor(2, "video") as pool:
        threads: list[Future[None]] = []
        try:
            threads += [submitted(pool, reading), submitted(pool, writing)]
            for item in items:
                results.put(compute(item))
            results.end()
            for thread in threads:
                result(thread)
            return Waits(items.seconds_empty, results.seconds_full)
        except Interrupted:
            items.close()
            results.close()
            raise _cause(threads) from None
        except BaseException:
            items.close()
            results.close()
            raise


def _cause(threads: list[Future[None]]) -> BaseException:
    """The error of the thread that stopped first; Interrupted is only its consequence in the others."""
    for thread in threads:
        try:
            result(thread)
        except Interrupted:
            continue
        except BaseException as error:
            return error
    return Interrupted()
