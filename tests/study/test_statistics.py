import numpy as np
import pytest

from srkd.study import statistics


def test_the_bootstrap_is_that_of_a_slow_loop() -> None:
    differences = np.random.default_rng(1).normal(0.1, 0.3, (3, 5))
    fast = statistics.bootstrap(differences, seed=2, resamples=50_000)
    random, slow = np.random.default_rng(3), []
    for _ in range(4000):
        seeds, items = random.integers(3, size=3), random.integers(5, size=5)
        slow.append(np.mean([[differences[s, i] for i in items] for s in seeds]))
    assert fast.mean() == pytest.approx(differences.mean(), abs=0.003)
    assert np.quantile(fast, [0.05, 0.5, 0.95]) == pytest.approx(np.quantile(slow, [0.05, 0.5, 0.95]), abs=0.02)
    assert np.array_equal(fast, statistics.bootstrap(differences, seed=2, resamples=50_000))


def test_over_items_alone_the_interval_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    row = np.random.default_rng(4).normal(0.2, 1, 40)
    theirs = stats.bootstrap((row,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    ours = np.quantile(statistics.bootstrap(row[None], resamples=20_000), [0.025, 0.975])
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.02)


def test_pictures_shared_by_all_seeds_do_not_count_as_new_ones() -> None:
    row = np.random.default_rng(5).normal(0, 1, 10)
    one, copies = statistics.bootstrap(row[None]), statistics.bootstrap(np.tile(row, (5, 1)))
    assert copies.std() == pytest.approx(one.std(), rel=0.05)


def test_p_is_two_sided_never_zero_and_at_most_one() -> None:
    means = np.arange(1.0, 1000.0)
    assert statistics.p_value(means) == statistics.p_value(-means) == pytest.approx(2 / 1000)
    assert statistics.p_value(np.zeros(9)) == 1
    assert statistics.p_value(np.array([-1.0, 1, 1, 1, 1, 1, 1, 1, 1])) == pytest.approx(0.4)


def test_holms_correction() -> None:
    # The worked example of Holm's rule: 0.01 x 4, 0.02 x 3, then max(0.06, 0.03 x 2), max(0.06, 0.04 x 1).
    assert statistics.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([0.7, 0.6]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_verdicts_follow_sign_direction_and_correction() -> None:
    random = np.random.default_rng(6)
    tables = {"up": random.normal(0.5, 0.1, (3, 20)), "down": random.normal(-0.5, 0.1, (3, 20)),
              "none": random.normal(0, 0.1, (3, 20))}  # fmt: skip
    found = statistics.compare(tables)
    assert [c.verdict for c in found.values()] == ["better", "worse", "no difference shown"]
    assert [c.verdict for c in statistics.compare(tables, lower=True).values()][:2] == ["worse", "better"]
    assert found["up"].low < found["up"].difference < found["up"].high
    assert found["up"].difference == pytest.approx(tables["up"].mean())


def test_what_is_shown_alone_may_not_be_shown_among_many() -> None:
    random = np.random.default_rng(7)
    weak = random.normal(0.5, 1, (4, 20))
    weak += 0.47 - weak.mean()
    alone = statistics.compare({"weak": weak})["weak"]
    many = statistics.compare({"weak": weak, **{str(n): random.normal(0, 1, (4, 20)) for n in range(30)}})["weak"]
    assert alone.verdict == "better" and many.verdict == "no difference shown"
    assert many.low < alone.low and many.p == alone.p < many.p_holm


def test_one_seed_shows_nothing() -> None:
    assert statistics.compare({"a": np.ones((1, 9))})["a"].verdict == "no difference shown"
