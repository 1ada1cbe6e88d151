"""Threads and signals: an interruption must not leave a lock locked that another thread waits for.

Python raises KeyboardInterrupt in the main thread between any two instructions, and so within its own queues, pools
and futures too, which are written in Python: one that comes just after such a lock was taken, and before the block that
will release it has begun, leaves it locked for good. The threads on the other side then never end, and nor does the
process, which waits for them.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, TimeoutError
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = 0.05  # seconds that a signal may have to wait


@contextmanager
def shielded() -> Iterator[None]:
    """SIGINT and SIGTERM that come within the block come at its end, so it must not wait for long.

    In any thread but the main one, which alone gets signals, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in found.items() if handler is not None}  # None: not Python's
    try:
        for number in handlers:
            signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def result(promise: Future[T]) -> T:
    """What a promise of another thread's comes to, when it does; raises what that raised, or an interruption."""
    while True:
        with shielded():
            try:
                error = promise.exception(_PATIENCE)
            except TimeoutError:
                continue
            if error is None:
                return promise.result()
        raise error
