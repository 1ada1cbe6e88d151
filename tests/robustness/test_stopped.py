"""Commands stopped by SIGTERM or SIGINT at random moments report it by their exit code, leave only complete files, and
resume when started again."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from robustness import whole
from robustness.cases import Uninterrupted
from robustness.conftest import cases
from robustness.victims import Victim, run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@cases("train", "prepare_data", "upscale")
def test_signals(
    name: str,
    number: signal.Signals,
    uninterrupted: Callable[[str], Uninterrupted],
    tmp_path: Path,
    rounds: Callable[[int, int], int],
    tell: Callable[[str], None],
) -> None:
    whole_run, rng, stopped = uninterrupted(name), random.Random(f"{name} {number}"), 0
    case, changes = whole_run.case, whole_run.ended.changes
    for attempt in range(rounds(1, 25)):
        place = case.folder(tmp_path / f"stopped{attempt}")
        victim = Victim(case.call, place)
        victim.wait_for_change(rng.randrange(1, changes))
        victim.signal(number)
        ended = victim.end()
        too_late = ended.changes == changes  # it was already exiting and no longer handled signals
        assert ended.code in (0, 128 + number) or (too_late and ended.code == -number), ended.output
        assert "Traceback" not in ended.output
        stopped += ended.code != 0
        whole.check(place)
        assert not list(place.rglob(".part-*"))
        assert run(case.call, place).code == 0
        assert case.results(place) == whole_run.results
    tell(f"{stopped} stops")
