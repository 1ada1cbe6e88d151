"""Commands killed by SIGKILL at random moments and restarted until done give the results of an uninterrupted run.

Half of the kills come just before a random change to the file system, half at a random time, which also covers
libraries that write files themselves. After each kill every file under a final name must be complete.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

from robustness import whole
from robustness.cases import Uninterrupted
from robustness.conftest import cases
from robustness.victims import Victim, run


@cases("train", "compare", "zoo", "prepare_data", "upscale", "export")
def test_a_killed_command_gives_the_results_of_an_uninterrupted_run(
    name: str,
    uninterrupted: Callable[[str], Uninterrupted],
    tmp_path: Path,
    rounds: Callable[[int, int], int],
    tell: Callable[[str], None],
) -> None:
    whole_run, rng, kills = uninterrupted(name), random.Random(name), 0
    case, changes = whole_run.case, whole_run.ended.changes
    for number in range(rounds(1, 25)):
        place = case.folder(tmp_path / f"cut{number}")
        for attempt in range(rounds(2, 4)):
            by_time = attempt % 2
            victim = Victim(case.call, place, kill_at=0 if by_time else rng.randrange(1, changes + 1))
            if by_time and not victim.wait(rng.uniform(0, whole_run.ended.seconds)):
                victim.signal(signal.SIGKILL)
            ended = victim.end()
            whole.check(place)
            if ended.code == 0:
                break
            assert ended.code == -signal.SIGKILL, ended.output
            kills += 1
        last = run(case.call, place)
        assert last.code == 0, last.output
        assert case.results(place) == whole_run.results
        assert not list(place.rglob(".part-*"))
    assert kills > 0
    tell(f"{kills} kills, each within {changes} changes to the file system; the results are the same")
