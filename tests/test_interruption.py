from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from srkd.interruption import result, shielded


class Stop(BaseException):
    pass


@pytest.fixture(autouse=True)
def raising() -> Iterator[None]:
    """SIGTERM raises, as in the commands."""

    def stop(number: int, frame: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_signal_is_delivered_at_the_end_of_the_block() -> None:
    steps = []
    with pytest.raises(Stop):
        with shielded():
            signal.raise_signal(signal.SIGTERM)
            steps.append("inside")
        steps.append("after")
    assert steps == ["inside"]
    with pytest.raises(Stop):
        signal.raise_signal(signal.SIGTERM)


def test_an_error_in_the_block_loses_no_signal() -> None:
    with pytest.raises(Stop) as stopped, shielded():
        signal.raise_signal(signal.SIGTERM)
        raise ValueError
    assert isinstance(stopped.value.__context__, ValueError)


def test_other_threads_need_no_shield() -> None:
    with ThreadPoolExecutor(1) as pool:
        inside = pool.submit(lambda: shielded().__enter__() or signal.getsignal(signal.SIGTERM))
        assert inside.result() is signal.getsignal(signal.SIGTERM)


def test_waiting_returns_the_result_or_raises_its_exception() -> None:
    future: Future[int] = Future()
    threading.Timer(0.12, lambda: future.set_result(7)).start()
    assert result(future) == 7
    failed: Future[int] = Future()
    failed.set_exception(TimeoutError("its own"))
    with pytest.raises(TimeoutError, match="its own"):
        result(failed)


def test_an_interrupted_wait_leaves_the_future_usable() -> None:
    ends = time.monotonic() + 1
    while time.monotonic() < ends:
        future: Future[int] = Future()
        with pytest.raises(Stop):
            with shielded():
                threading.Timer(0.0005, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
            while True:
                look(future)
        keeper = threading.Thread(target=future.set_result, args=(1,), daemon=True)
        keeper.start()
        keeper.join(5)
        assert not keeper.is_alive() and future.done()


def look(future: Future[int]) -> bool:
    with shielded():
        return future.done()
