"""Signals, and threads: an interruption must not leave a lock locked that another thread waits for.

Python raises KeyboardInterrupt in the main thread between any two instructions, and so within its own queues, pools
and futures too, which are written in Python: one that comes just after such a lock was taken, and before the block that
will release it has begun, leaves it locked for good. The threads on the other side then never end, and nor does the
process, which waits for them.
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

_PATIENCE = 0.05  # seconds that a signal may have to wait


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within the block SIGINT and SIGTERM go to `handler`, as `signal.signal` has it.

    In any thread but the main one, which alone gets signals, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = {number: before for number, before in found.items() if before is not None}  # None: not Python's
    try:
        for number in previous:
            signal.signal(number, handler)
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def shielded() -> Iterator[None]:
    """SIGINT and SIGTERM that come within the block come at its end, so it must not wait for long."""
    came: list[int] = []
    try:
        with handling(lambda number, frame: came.append(number)):
            yield
    finally:
        for number in came:
            signal.raise_signal(number)


def submitted(pool: Executor, call: Callable[..., T], *arguments: Any) -> Future[T]:
    """`pool.submit(call, *arguments)`, which an interruption leaves usable."""
    with shielded():
        return pool.submit(call, *arguments)


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
