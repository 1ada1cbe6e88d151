"""Commands that are told to stop: by SIGTERM or SIGINT, at random moments. They say so by their exit code, leave only
whole files, and go on from there when started again."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from robustness import whole
from robustness.cases import CASES
from robustness.victims import Victim, run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", list(CASES))
def test_signals(
    name: str, number: signal.Signals, tiny: Path, tmp_path: Path, rounds: Callable[[int, int], int],
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    case, rng, stopped = CASES[name](tiny), random.Random(f"{name} {number}"), 0
    undisturbed = run(case.call, case.folder(tmp_path / "whole"))
    expected = case.results(tmp_path / "whole")
    for attempt in range(rounds(1, 25)):
        place = case.folder(tmp_path / f"stopped{attempt}")
        victim = Victim(case.call, place)
        victim.wait_for_change(rng.randrange(1, undisturbed.changes))
        victim.signal(number)
        ended = victim.end()
        assert ended.code in (0, 128 + number), ended.said
        assert "Traceback" not in ended.said
        stopped += ended.code != 0
        whole.check(place)
        assert not list(place.rglob(".part-*"))
        assert run(case.call, place).code == 0
        assert case.results(place) == expected
    tell(f"{stopped} stops")
