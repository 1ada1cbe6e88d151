from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from srkd.compression import rounds
from srkd.compression.candidates import Candidate
from srkd.compression.job import clock
from srkd.compression.request import Settings
from srkd.errors import SrkdError

SETTINGS = Settings()


@pytest.mark.parametrize("control", [True, False])
@pytest.mark.parametrize("left", [100, 300, 700, 2400, 20000])
@pytest.mark.parametrize("fitting", [1, 2, 3, 5, 8, 14])
def test_a_plan_uses_exactly_the_time(left: float, fitting: int, control: bool) -> None:
    shared = rounds.divide(left, fitting, control, SETTINGS)
    spent = sum(r.candidates * r.seconds for r in shared.rounds) + shared.student + shared.control
    assert spent == pytest.approx(left)
    assert shared.control == (shared.student if control else 0)
    assert shared.student >= SETTINGS.final


@pytest.mark.parametrize("fitting", [2, 3, 5, 8, 14])
def test_each_round_keeps_half_of_the_candidates_for_twice_the_time_each(fitting: int) -> None:
    found = rounds.divide(3000, fitting, True, SETTINGS).rounds
    assert found[0].candidates == min(fitting, SETTINGS.candidates)
    for one, following in pairwise(found):
        assert following.candidates == -(-one.candidates // 2)
    assert len({round(r.candidates * r.seconds, 6) for r in found}) == 1
    assert all(r.seconds >= SETTINGS.shortest for r in found)


def test_less_time_means_fewer_candidates() -> None:
    counts = [rounds.divide(left, 8, True, SETTINGS).rounds for left in (2000, 300, 120, 95)]
    first = [each[0].candidates if each else 1 for each in counts]
    assert first == sorted(first, reverse=True) and first[0] == 8 and first[-1] == 1


def test_too_short_a_time_raises_with_the_missing_minutes() -> None:
    rounds.check(2 * SETTINGS.final, True, SETTINGS)
    with pytest.raises(SrkdError, match=r"--time is too short: 30 s .* its control take at least 90 s; add 1 min"):
        rounds.check(30, True, SETTINGS)
    with pytest.raises(SrkdError, match="0 s are left"):
        rounds.check(-100, False, SETTINGS)


def test_durations_as_text() -> None:
    assert [clock(s) for s in (45, 600, 3900)] == ["45 s", "10 min", "1 h 5 min"]


@pytest.mark.parametrize(
    ("diverged", "best"),
    [
        ({}, "c"),
        ({2: "cd"}, "b"),  # all of the last round: the best that the first round left out
        ({2: "c"}, "d"),
        ({1: "d"}, "c"),
        ({1: "bcd"}, "a"),
    ],
)
def test_candidates_that_diverge_drop_out(diverged: dict[int, str], best: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(job: Any, prepared: Any, number: int, candidates: list[Candidate], seconds: float) -> Any:
        lost = {"psnr": None, "steps": 1, "why": "training diverged"}
        psnr = {"a": 30.0, "b": 31.0, "c": 33.0, "d": 32.0}
        return [(c, lost if c.label in diverged.get(number, "") else {"psnr": psnr[c.label]}) for c in candidates]

    monkeypatch.setattr(rounds, "_train_round", train)
    prepared: Any = SimpleNamespace(candidates=[(Candidate(label, "", {}, 0.0), None) for label in "abcd"])
    plan = [rounds.Round(4, 1.0), rounds.Round(2, 2.0)]
    chosen, rows = rounds.choose(SimpleNamespace(), prepared, plan)  # type: ignore[arg-type]
    assert chosen.label == best and len(rows) == (5 if best == "a" else 6)
    diverged |= {1: "abcd"}
    with pytest.raises(SrkdError, match="no candidate could be trained: training diverged"):
        rounds.choose(SimpleNamespace(), prepared, plan)  # type: ignore[arg-type]
