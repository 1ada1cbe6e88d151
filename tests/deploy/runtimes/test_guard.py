from __future__ import annotations

import numpy as np
import pytest

from srkd.deploy.runtimes.engine import Bytes, Engine
from srkd.deploy.runtimes.guard import Guarded, broken
from support import textured


class Repeats(Engine):
    """Repeats pixels; with `hole`, a patch of its answer is of that level, as NaN makes it."""

    runtime = "torch"

    def __init__(self, precision: str, hole: int | None = None) -> None:
        super().__init__(precision, {"scale": 2})
        self.hole, self.calls = hole, 0

    def _run(self, pixels: Bytes) -> Bytes:
        self.calls += 1
        answer = pixels.repeat(2, 1).repeat(2, 2)
        if self.hole is not None:
            answer[:, 20:70, 30:80] = self.hole
        return answer


@pytest.mark.parametrize("hole", [0, 255])
def test_a_broken_answer_is_done_again_exactly_and_said_once(hole: int) -> None:
    picture = textured(0, 60, 70)[None] // 2 + 40
    exact, said = Repeats("fp32"), list[str]()
    guarded = Guarded(Repeats("bf16", hole), lambda: exact, said.append)
    for _ in range(2):
        assert np.array_equal(guarded(picture), exact(picture))
    assert said == ["torch bf16 gave NaN or black for a picture of this network: going on with torch fp32"]
    assert str(guarded) == "torch fp32"


def test_what_the_network_itself_does_is_left_alone() -> None:
    picture = np.full((1, 60, 70, 3), 100, np.uint8)
    engine, exact = Repeats("bf16", 0), Repeats("fp32", 0)
    guarded = Guarded(engine, lambda: exact, lambda line: pytest.fail(line))
    for _ in range(3):
        assert (guarded(picture)[0, 30:60, 40:70] == 0).all()
    assert exact.calls == 1 and engine.calls == 3


@pytest.mark.parametrize("shape", [(60, 70), (1, 1), (5, 33)])
def test_good_answers_are_not_called_broken(shape: tuple[int, int]) -> None:
    picture = textured(1, *shape)
    sharp = picture.repeat(2, 0).repeat(2, 1).astype(int) + np.random.default_rng(0).integers(-20, 20, 3)
    assert not broken(picture[None], np.clip(sharp, 0, 255).astype(np.uint8)[None])
    black = np.zeros((1, *shape, 3), np.uint8)
    assert not broken(black, black.repeat(2, 1).repeat(2, 2))
