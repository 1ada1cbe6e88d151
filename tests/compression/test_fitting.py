from collections.abc import Callable

import pytest

from srkd.compression import candidates
from srkd.compression.candidates import Candidate, Cost
from srkd.compression.request import Budget
from srkd.errors import SrkdError

WIDTHS = range(1, 9)


def line(family: str, depth: int) -> list[Candidate]:
    return [Candidate(f"{family} {w}x{depth}", family, {"w": w, "d": depth}, 1e-3) for w in WIDTHS]


def cost_of(candidate: Candidate) -> Cost:
    size = candidate.spec["w"] ** 2 * candidate.spec["d"]
    return Cost(float(size), size / 100, size, size)


def counted(calls: list[str]) -> Callable[[Candidate], Cost]:
    def measure(candidate: Candidate) -> Cost:
        calls.append(candidate.label)
        return cost_of(candidate)

    return measure


@pytest.mark.parametrize("limits", [(20, None), (1000, None), (None, 0.35), (40, 0.2), (2.5, None)])
def test_the_widest_fitting_candidate_of_each_line_is_found_with_few_measurements(limits: tuple[float, float]) -> None:
    lines, calls, most = [line("A", 1), line("A", 2), line("B", 4)], list[str](), Budget(*limits)
    found = candidates.search(lines, counted(calls), most)
    fitting = [
        max(
            (c for c in each if not candidates.rejection_reason(cost_of(c), most)),
            key=lambda c: c.spec["w"],
            default=None,
        )
        for each in lines
    ]
    assert [c for c, _ in found.fitting] == [c for c in fitting if c is not None]
    assert len(found.smallest) == min(1, fitting[:2].count(None)) + (
        fitting[2] is None
    )  # deeper networks are not measured
    assert len(calls) == len(set(calls)) < 3 * len(WIDTHS)
    for row in found.rejected:
        assert row["why"]


@pytest.mark.parametrize("guess", range(-3, 9))
@pytest.mark.parametrize("last", range(-1, 5))
def test_the_last_true_index_is_found_from_any_guess(last: int, guess: int) -> None:
    assert candidates._last_true(5, lambda number: number <= last, guess) == last


def test_a_rejection_gives_its_reason() -> None:
    most = Budget(10, 0.5)
    assert candidates.rejection_reason(Cost(8.9, 0.48, 1, 1), most) == ""
    assert (
        candidates.rejection_reason(Cost(9.5, 0.2, 1, 1), most) == "9.5 ms of 10"
    )  # too close: the next measurement may differ
    assert candidates.violation(9.5, 0.2, most) == ""
    assert candidates.violation(12.34, 0.6, most) == "12.3 ms of 10 and 0.6 MB of 0.5"


def test_if_nothing_fits_the_error_names_the_nearest_budget_that_can_be_met() -> None:
    most = Budget(0.5, 1.0)
    found = candidates.search([line("A", 1), line("B", 3)], cost_of, most)
    assert not found.fitting
    error = candidates.nothing_fits([(*measured, "torch fp32") for measured in found.smallest], most)
    assert isinstance(error, SrkdError)
    assert "A 1x1 on torch fp32, takes 1 ms and 0.01 MB; --max-ms 1.2 --max-mb 1 can be met" in str(error)
    assert candidates.search([line("A", 1)], cost_of, Budget(1.2, 1.0)).fitting


def test_the_budget_that_an_estimated_candidate_needs_has_its_margin() -> None:
    estimated = Cost(27.0, 0.02, 1, 1, estimated=True)
    error = candidates.nothing_fits([(line("A", 1)[0], estimated, "torch fp32")], Budget(30.0, None))
    assert "takes 27 ms (estimated) and 0.02 MB; --max-ms 36 can be met" in str(error)
    assert candidates.rejection_reason(estimated, Budget(30.0, None))
    assert not candidates.rejection_reason(estimated, Budget(36.0, None))


@pytest.mark.parametrize(("value", "expected"), [(103.2, "110"), (0.0123, "0.013"), (1.2, "1.2"), (1234.0, "1300")])
def test_the_budget_that_can_be_met_is_a_plain_number(value: float, expected: str) -> None:
    assert candidates._round_up(value) == expected


def test_families_take_turns_largest_first() -> None:
    measured = [(c, cost_of(c)) for c in [*line("A", 2), *line("B", 1)]]
    assert [c.label for c, _ in candidates.select(measured, 4)] == ["A 8x2", "B 8x1", "A 7x2", "B 7x1"]
    assert len(candidates.select(measured, 100)) == len(measured)
