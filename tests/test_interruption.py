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
    """SIGTERM raises, as the commands have it."""

    def stop(number: int, frame: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_signal_comes_when_the_block_has_ended() -> None:
    steps = []
    with pytest.raises(Stop):
        with shielded():
            signal.raise_signal(signal.SIGTERM)
            steps.append("inside")
        steps.append("after")
    assert steps == ["inside"]
    with pytest.raises(Stop):
        signal.raise_signal(signal.SIGTERM)


def test_an_error_inside_loses_no_signal() -> None:
    with pytest.raises(Stop) as stopped, shielded():
        signal.raise_signal(signal.SIGTERM)
        raise ValueError
    assert isinstance(stopped.value.__context__, ValueError)


def test_other_threads_need_no_shield() -> None:
    with ThreadPoolExecutor(1) as pool:
        inside = pool.submit(lambda: shielded().__enter__() or signal.getsignal(signal.SIGTERM))
        assert inside.result() is signal.getsignal(signal.SIGTERM)


def test_waiting_gives_what_was_promised_or_raises_it() -> None:
    promise: Future[int] = Future()
    threading.Timer(0.12, lambda: promise.set_result(7)).start()
    assert result(promise) == 7
    failed: Future[int] = Future()
    failed.set_exception(TimeoutError("its own"))
    with pytest.raises(TimeoutError, match="its own"):
        result(failed)


def test_a_shielded_look_can_be_interrupted_and_leaves_the_promise_open_to_the_other_side() -> None:
    ends = time.monotonic() + 1
    while time.monotonic() < ends:
        promise: Future[int] = Future()
        with pytest.raises(Stop):
            with shielded():
                threading.Timer(0.0005, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
            while True:
                look(promise)
        keeper = threading.Thread(target=promise.set_result, args=(1,), daemon=True)
        keeper.start()
        keeper.join(5)
        assert not keeper.is_alive() and promise.done()


def look(promise: Future[int]) -> bool:
    with shielded():
        return promise.done()
