"""Signals and threads: an interruption must not leave a lock held that another thread waits for.

Python raises KeyboardInterrupt in the main thread between any two instructions, also inside queues, pools and futures,
which are written in Python. If it arrives after a lock was acquired and before the block that releases it is entered,
the lock is never released. The threads that wait for it never end, nor does the process, which joins them.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, TimeoutError
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

_POLL_INTERVAL = 0.05  # seconds; the longest that a signal is delayed


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within the block `handler` handles SIGINT and SIGTERM; its arguments are those of `signal.signal`'s handlers.

    Does nothing outside the main thread, the only one that receives signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = {number: before for number, before in found.items() if before is not None}  # None: not from Python
    try:
        for number in previous:
            signal.signal(number, handler)
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def recording() -> Iterator[Callable[[], int]]:
    """Record SIGINT and SIGTERM inside the block: the yielded function returns the number of the first signal, or 0.
    A second SIGINT raises KeyboardInterrupt."""
    received: list[int] = []

    def record(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    with handling(record):
        yield lambda: received[0] if received else 0


@contextmanager
def shielded() -> Iterator[None]:
    """Delay SIGINT and SIGTERM until the end of the block, which must therefore be short."""
    pending: list[int] = []
    try:
        with handling(lambda number, frame: pending.append(number)):
            yield
    finally:
        for number in pending:
            signal.raise_signal(number)


def submitted(pool: Executor, call: Callable[..., T], *arguments: Any) -> Future[T]:
    """`pool.submit(call, *arguments)`; an interruption leaves the pool usable."""
    with shielded():
        return pool.submit(call, *arguments)


def result(future: Future[T]) -> T:
    """Wait for the result of another thread's future; raises its exception, or an interruption."""
    while True:
        with shielded():
            try:
                error = future.exception(_POLL_INTERVAL)
            except TimeoutError:
                continue
            if error is None:
                return future.result()
        raise error
