import numpy as np
import pytest
from scipy import stats

from srkd.studies import statistics
from srkd.studies.statistics import NOT_SHOWN, Array


def differences(*seeds: int, seed: int = 0, mean: float = 0.0) -> dict[str, Array]:
    """A variant for each number of seeds, in order."""
    random = np.random.default_rng(seed)
    return {f"v{place}": random.normal(mean, 1, n) for place, n in enumerate(seeds)}


@pytest.mark.parametrize("n", [2, 5, 12])
def test_p_and_interval_are_those_of_scipys_t_test(n: int) -> None:
    values = np.random.default_rng(n).normal(0.4, 1, n)
    theirs = stats.ttest_1samp(values, 0)
    assert statistics.t_test(values) == pytest.approx(theirs.pvalue, rel=1e-9)
    for level in (0.05, 0.05 / 23):
        interval = theirs.confidence_interval(1 - level)
        assert statistics.t_interval(values, level) == pytest.approx((interval.low, interval.high), rel=1e-9)


@pytest.mark.parametrize("n", [3, 5, 9])
def test_the_exact_test_is_scipys_permutation_test(n: int) -> None:
    values = np.random.default_rng(n).normal(0.5, 1, n)
    theirs = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=2**n)
    assert statistics.sign_flip_test(values) == pytest.approx(theirs.pvalue)


def test_the_exact_test_is_drawn_where_seeds_are_many_and_never_zero() -> None:
    many = np.random.default_rng(8).normal(0.35, 1, 17)
    theirs = stats.permutation_test((many,), np.mean, permutation_type="samples", n_resamples=2**17, vectorized=True)
    assert statistics.sign_flip_test(many) == pytest.approx(theirs.pvalue, abs=4 * 0.5 / 256)
    assert 0 < statistics.sign_flip_test(np.full(40, 0.1)) < 1e-4
    assert statistics.sign_flip_test(np.zeros(5)) == 1


def test_holms_correction() -> None:
    # The worked example of Holm's rule: 0.01 x 4, 0.02 x 3, then max(0.06, 0.03 x 2), max(0.06, 0.04 x 1).
    assert statistics.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([0.7, 0.6]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_verdicts_follow_sign_direction_and_correction() -> None:
    tables = differences(5, 5, 5, seed=6)
    tables["v0"], tables["v1"] = tables["v0"] / 5 + 1, tables["v1"] / 5 - 1
    found = statistics.compare(tables)
    assert [effect.verdict for effect in found.values()] == ["better", "worse", NOT_SHOWN]
    assert [effect.verdict for effect in statistics.compare(tables, lower=True).values()][:2] == ["worse", "better"]
    assert found["v0"].difference == pytest.approx(tables["v0"].mean()) and found["v0"].p_exact == 0.0625


def test_what_is_shown_alone_may_not_be_shown_among_many() -> None:
    weak = np.array([0.2, 0.5, 0.3, 0.9, 0.6])
    alone = statistics.compare({"weak": weak})["weak"]
    many = statistics.compare({"weak": weak, **differences(*[5] * 30)})["weak"]
    assert alone.verdict == "better" and many.verdict == NOT_SHOWN
    assert alone.low and many.low and many.p_holm and many.low < alone.low and many.p == alone.p < many.p_holm


def test_an_interval_excludes_zero_if_and_only_if_there_is_a_verdict() -> None:
    verdicts = set()
    for seed in range(300):
        scale = np.random.default_rng(seed).uniform(0, 3)
        for effect in statistics.compare(differences(5, 6, 7, 10, seed=seed, mean=scale)).values():
            assert effect.low is not None and effect.high is not None
            assert (effect.verdict == NOT_SHOWN) == (effect.low <= 0 <= effect.high)
            verdicts.add(effect.verdict)
    assert verdicts == {"better", NOT_SHOWN}


def test_fewer_than_five_seeds_give_no_verdict_however_clear_they_are() -> None:
    found = statistics.compare({str(n): 1 + np.arange(n) / 1000 for n in range(7)})
    assert [effect.verdict for effect in found.values()] == [
        "0 seeds: no verdict",
        "1 seed: no verdict",
        *[f"{n} seeds: no verdict" for n in (2, 3, 4)],
        "better",
        "better",
    ]
    assert found["0"].difference is None and found["1"].difference == 1 and found["1"].low is found["1"].p is None
    assert found["2"].low is not None and found["4"].low is not None and found["4"].low > 0


def test_seeds_that_change_nothing_are_one_observation() -> None:
    found = statistics.compare({"equal": np.full(6, 0.1), "rounded": 36.1 - np.array([36.0, 36.0 - 7e-15] * 3)})
    for effect in found.values():
        assert effect.verdict == "no verdict: the seed changes nothing" and effect.difference == pytest.approx(0.1)
        assert effect.low is effect.p is effect.p_holm is None
    zero = statistics.compare({"same": np.zeros(5)})["same"]
    assert (zero.verdict, zero.low, zero.high, zero.p, zero.p_exact) == (NOT_SHOWN, 0, 0, 1, 1)


def test_nan_gives_no_verdict_and_leaves_the_others_theirs() -> None:
    clear = np.array([1.0, 1.1, 0.9, 1.0, 1.05])
    found = statistics.compare({"nan": np.array([1, 1, np.nan, 1, 1.1]), "clear": clear, "none": np.zeros(0)})
    assert found["nan"].verdict == "no verdict: NaN" and found["nan"].difference is None
    assert found["clear"].verdict == "better"
    # What could not be tested counts as one of those compared; what was never run does not.
    assert found["clear"].p_holm == pytest.approx(2 * (found["clear"].p or 0))
