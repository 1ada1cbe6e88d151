"""A clock for tests of what depends on time."""

from collections.abc import Callable


class Clock:
    """The time in seconds, which passes only in the calls made by `taking` and when `now` is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def taking(self, *seconds: float) -> Callable[..., None]:
        """A call that takes these times in turn, then the last one again and again."""
        times = list(seconds)

        def call(*_: object) -> None:
            self.now += times.pop(0) if len(times) > 1 else times[0]

        return call
