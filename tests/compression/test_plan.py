from itertools import pairwise

import pytest

from srkd.compression import plan
from srkd.compression.limits import Limits
from srkd.errors import SrkdError

EFFORT = Limits()


@pytest.mark.parametrize("control", [True, False])
@pytest.mark.parametrize("left", [100, 300, 700, 2400, 20000])
@pytest.mark.parametrize("fitting", [1, 2, 3, 5, 8, 14])
def test_a_plan_spends_the_time_and_no_more(left: float, fitting: int, control: bool) -> None:
    shared = plan.share(left, fitting, control, EFFORT)
    spent = sum(r.candidates * r.seconds for r in shared.rounds) + shared.student + shared.control
    assert spent == pytest.approx(left)
    assert shared.control == (shared.student if control else 0)
    assert shared.student >= EFFORT.final


@pytest.mark.parametrize("fitting", [2, 3, 5, 8, 14])
def test_each_round_keeps_the_better_half_for_as_long_a_time(fitting: int) -> None:
    rounds = plan.share(3000, fitting, True, EFFORT).rounds
    assert rounds[0].candidates == min(fitting, EFFORT.candidates)
    for one, following in pairwise(rounds):
        assert following.candidates == -(-one.candidates // 2)
    assert len({round(r.candidates * r.seconds, 6) for r in rounds}) == 1
    assert all(r.seconds >= EFFORT.shortest for r in rounds)


def test_little_time_goes_into_few_candidates_and_then_into_one() -> None:
    counts = [plan.share(left, 8, True, EFFORT).rounds for left in (2000, 300, 120, 95)]
    first = [rounds[0].candidates if rounds else 1 for rounds in counts]
    assert first == sorted(first, reverse=True) and first[0] == 8 and first[-1] == 1


def test_too_short_a_time_says_how_much_more() -> None:
    plan.check(2 * EFFORT.final, True, EFFORT)
    with pytest.raises(SrkdError, match=r"too short a time: 30 s .* its control take 90 s.*give 1 min more"):
        plan.check(30, True, EFFORT)
    with pytest.raises(SrkdError, match="0 s would be left"):
        plan.check(-100, False, EFFORT)


def test_times_in_words() -> None:
    assert [plan.clock(s) for s in (45, 600, 3900)] == ["45 s", "10 min", "1 h 5 min"]
