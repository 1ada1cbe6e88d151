"""Commands killed by SIGKILL at random moments, started again until done: they end as one that ran undisturbed.

Half of the kills come just before a change to the file system that was drawn, half at a time that was drawn, which
reaches into the libraries that write files themselves. Whatever stands under a final name is whole after each.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from robustness import whole
from robustness.cases import CASES
from robustness.victims import Victim, run


@pytest.mark.parametrize("name", list(CASES))
def test_killed_at_any_moment_a_command_ends_as_if_undisturbed(
    name: str, tiny: Path, tmp_path: Path, rounds: Callable[[int, int], int], tell: Callable[[str], None]
) -> None:
    case, rng, kills = CASES[name](tiny), random.Random(name), 0

    undisturbed = run(case.call, case.folder(tmp_path / "whole"))
    assert undisturbed.code == 0, undisturbed.said
    expected = case.results(tmp_path / "whole")
    for number in range(rounds(1, 25)):
        place = case.folder(tmp_path / f"cut{number}")
        for attempt in range(4):
            by_time = attempt % 2
            kill_at = 0 if by_time else rng.randrange(1, undisturbed.changes + 1)
            victim = Victim(case.call, place, kill_at=kill_at)
            if by_time and not victim.wait(rng.uniform(0, undisturbed.seconds)):
                victim.signal(signal.SIGKILL)
            ended = victim.end()
            whole.check(place)
            if ended.code == 0:
                break
            assert ended.code == -signal.SIGKILL, ended.said
            kills += 1
        last = run(case.call, place)
        assert last.code == 0, last.said
        assert case.results(place) == expected
        assert not list(place.rglob(".part-*"))
    assert kills > 0
    tell(f"{kills} kills, each within {undisturbed.changes} changes to the file system; the results are the same")
