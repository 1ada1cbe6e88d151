"""Verdicts from run records, and how often they are wrong where nothing differs: `summarise` on simulated studies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from srkd.studies import rejudge, results
from srkd.studies.plan import CONTROL, Study
from srkd.studies.runs import Comparison
from srkd.studies.statistics import NOT_SHOWN
from srkd.studies.verdicts import score_tables

Noise = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]
SHOWN = {"better", "worse"}


class Recorded(Comparison):
    """A study whose runs are in memory, all finished."""

    def __init__(self, runs: dict[tuple[str, int], dict[str, Any]]) -> None:
        names, seeds = (list(dict.fromkeys(key[part] for key in runs)) for part in (0, 1))
        variants = [{"name": name, "losses": []} for name in names]
        super().__init__(Study(name="made", base={}, variants=variants, seeds=seeds), Path("nowhere"))
        self.runs_made = runs

    def result(self, variant: str, seed: int) -> dict[str, Any] | None:
        run = self.runs_made.get((variant, seed))
        return run and {
            "variant": variant,
            "seed": seed,
            "status": "finished",
            "seconds": 1.0,
            "extra_parameters": 0,
            "terms": {},
            "curves": {},
            **run,
        }


def run(**metrics: dict[str, float]) -> dict[str, Any]:
    return {"scores": {"set": {"metrics": metrics, "protocol": "made"}}}


def one_metric(scores: dict[str, dict[int, dict[str, float]]], lower: bool = False) -> dict[str, dict[str, Any]]:
    """Rows by variant of the metric `m`, from scores by variant, seed and item."""
    found = {name: {seed: run(m=items) for seed, items in own.items()} for name, own in scores.items()}
    (table,) = score_tables(found, 0.05, ["m"] if lower else [])
    return {row["variant"]: row for row in table["rows"]}


def simulated(seeds: int, items: int, variants: int, families: int, noise: Noise, effect: float = 0.0) -> Recorded:
    """A study of `families` metrics. In each, scores are sums of effects: of items, which are the same for all runs; of
    seeds, the same for all variants; of seed and item together; of each run and item; of each run alone."""
    random = np.random.default_rng([seeds, items, variants])
    names = [CONTROL, *(f"v{number}" for number in range(variants))]

    def drawn(*shape: int, scale: float) -> NDArray[np.float64]:
        return scale * noise(random, shape)

    scores = (
        30
        + drawn(families, 1, 1, items, scale=3)
        + drawn(families, 1, seeds, 1, scale=0.3)
        + drawn(families, 1, seeds, items, scale=0.2)
        + drawn(families, len(names), seeds, items, scale=0.2)
        + drawn(families, len(names), seeds, 1, scale=0.1)
    )
    scores[:, 1:] += effect
    labels = [str(item) for item in range(items)]

    def recorded(number: int, seed: int) -> dict[str, Any]:
        own = scores[:, number, seed].tolist()
        return run(**{f"m{family}": dict(zip(labels, values, strict=True)) for family, values in enumerate(own)})

    return Recorded({(name, seed): recorded(n, seed) for n, name in enumerate(names) for seed in range(seeds)})


def families_with_a_verdict(study: Recorded) -> int:
    tables = results.summarise(study)["scores"]
    return sum(any(row.get("verdict") in SHOWN for row in table["rows"]) for table in tables)


def bound(families: int, rate: float = 0.06) -> int:
    """The largest count that a true rate of `rate` gives with a probability of 0.999."""
    return int(stats.binom.ppf(0.999, families, rate))


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return random.normal(size=shape)


def heavy(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return random.standard_t(3, size=shape)


def coarse(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Scores in few steps, as accuracy on few documents: differences that are all equal are not rare."""
    return random.integers(0, 2, size=shape).astype(np.float64)


# By number of variants and of items: families simulated, so many that all of it takes a few seconds.
FAMILIES = {
    (1, 1): 250,
    (1, 20): 250,
    (1, 100): 60,
    (7, 1): 60,
    (7, 20): 60,
    (7, 100): 20,
    (23, 1): 25,
    (23, 20): 25,
    (23, 100): 8,
}


@pytest.mark.parametrize("noise", [normal, heavy, coarse])
def test_where_nothing_differs_a_verdict_comes_as_rarely_as_promised(noise: Noise) -> None:
    found = families = 0
    for seeds in (5, 10):
        for (variants, items), count in FAMILIES.items():
            if noise is not normal and (items == 100 or seeds == 10):
                continue
            wrong = families_with_a_verdict(simulated(seeds, items, variants, count, noise))
            assert wrong <= bound(count), (seeds, items, variants)
            found, families = found + wrong, families + count
    assert stats.binom.ppf(0.001, families, 0.025) <= found <= bound(families)


@pytest.mark.parametrize("items", [1, 20, 100])
@pytest.mark.parametrize("variants", [1, 7, 23])
def test_three_seeds_give_no_verdict_whatever_the_effect(variants: int, items: int) -> None:
    tables = results.summarise(simulated(3, items, variants, 2, normal, effect=5.0))["scores"]
    rows = [row for table in tables for row in table["rows"][1:]]
    assert {row["verdict"] for row in rows} == {"3 seeds: no verdict"} and len(rows) == 2 * variants
    assert all(row["p"] < 0.05 for row in rows)


def test_the_simulation_finds_a_test_that_is_not_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    def z_test(values: NDArray[np.float64]) -> float:
        return float(2 * stats.norm.sf(abs(values.mean()) / values.std(ddof=1) * np.sqrt(len(values))))

    monkeypatch.setattr("srkd.studies.statistics.t_test", z_test)
    assert families_with_a_verdict(simulated(5, 20, 7, 60, normal)) > bound(60)


@pytest.mark.parametrize("seeds, effect", [(5, 0.3), (10, 0.2)])
def test_a_known_effect_is_found_as_often_as_theory_says(seeds: int, effect: float) -> None:
    items, families = 20, 250
    deviation = np.sqrt(2 * (0.2**2 / items + 0.1**2))  # of a difference: what belongs to the run alone, twice

    def power(level: float) -> float:
        shift, limit = effect / deviation * np.sqrt(seeds), stats.t.ppf(1 - level / 2, seeds - 1)
        return float(stats.nct.sf(limit, seeds - 1, shift) + stats.nct.cdf(-limit, seeds - 1, shift))

    found = families_with_a_verdict(simulated(seeds, items, 1, families, normal, effect))
    low, high = stats.binom.ppf([0.001, 0.999], families, power(0.05))
    assert low <= found <= high and found > 0.75 * families
    # Among seven, each is found at least as often as by Bonferroni's rule, and only in its true direction.
    tables = results.summarise(simulated(seeds, items, 7, 60, normal, effect))["scores"]
    verdicts = [[row["verdict"] for row in table["rows"][1:]] for table in tables]
    assert sum(own[0] == "better" for own in verdicts) >= stats.binom.ppf(0.001, 60, power(0.05 / 7))
    assert {verdict for own in verdicts for verdict in own} == {"better", NOT_SHOWN}


def test_rows_hold_means_over_items_then_seeds() -> None:
    random = np.random.default_rng(1)
    control, variant = ({s: {"a": v, "b": w} for s, (v, w) in enumerate(random.normal(30, 1, (5, 2)))} for _ in "cv")
    rows = one_metric({CONTROL: control, "v": variant})
    own, theirs = (np.array([list(run.values()) for run in side.values()]).mean(1) for side in (variant, control))
    test = stats.ttest_rel(own, theirs)
    interval = test.confidence_interval()
    row = rows["v"]
    assert [row["mean"], row["SD"]] == pytest.approx([own.mean(), own.std(ddof=1)])
    assert [row["difference"], row["p"], row["low"], row["high"]] == pytest.approx(
        [(own - theirs).mean(), test.pvalue, interval.low, interval.high]
    )
    assert "verdict" not in rows[CONTROL] and "note" not in row


def scores(*values: float, item: str = "a") -> dict[int, dict[str, float]]:
    return {seed: {item: value} for seed, value in enumerate(values)}


CLEAR = scores(2.0, 2.1, 2.05, 1.95, 2.02)
BASE = scores(1.0, 1.2, 1.1, 1.05, 1.0)


def test_a_control_that_misses_a_seed_is_named_and_costs_that_pair() -> None:
    rows = one_metric({CONTROL: {seed: run for seed, run in BASE.items() if seed != 3}, "v": CLEAR})
    assert rows["v"]["verdict"] == "4 seeds: no verdict" and rows["v"]["note"] == "not in the control: seed 3"
    assert (rows["v"]["seeds"], rows[CONTROL]["seeds"]) == (5, 4)
    rows = one_metric({CONTROL: {}, "v": CLEAR})
    assert rows["v"]["verdict"] == "0 seeds: no verdict" and "difference" not in rows["v"]
    assert rows["v"]["note"] == "not in the control: seeds 0, 1, 2, 3, 4"
    rows = one_metric({CONTROL: BASE, "v": {seed: CLEAR[seed] for seed in (0, 4)}, "never": {}, "all": CLEAR})
    assert (rows["v"]["note"], rows["v"]["verdict"]) == ("missing: seeds 1, 2, 3", "2 seeds: no verdict")
    assert rows["never"] == {**rows["never"], "seeds": 0, "verdict": "0 seeds: no verdict"}
    assert rows["all"]["verdict"] == "better"


def test_nan_gives_no_verdict_and_its_seed_is_named() -> None:
    rows = one_metric({CONTROL: BASE, "v": {**CLEAR, 2: {"a": np.nan}}, "w": CLEAR})
    assert (rows["v"]["verdict"], rows["v"]["note"]) == ("no verdict: NaN", "NaN: seed 2")
    assert "difference" not in rows["v"] and "SD" not in rows["v"] and rows["w"]["verdict"] == "better"
    rows = one_metric({CONTROL: {**BASE, 1: {"a": np.nan}}, "v": CLEAR})
    assert (rows["v"]["verdict"], rows["v"]["note"]) == ("no verdict: NaN", "NaN in the control: seed 1")


def test_an_infinitely_good_item_is_left_out_and_a_diverged_one_is_not() -> None:
    def two(side: dict[int, dict[str, float]], b: float, at: int) -> dict[int, dict[str, float]]:
        return {seed: {**run, "b": b if seed == at else 5.0} for seed, run in side.items()}

    rows = one_metric({CONTROL: two(BASE, 5.0, 0), "v": two(CLEAR, np.inf, 3)})
    assert rows["v"]["difference"] == pytest.approx(np.mean([CLEAR[s]["a"] - BASE[s]["a"] for s in range(5)]))
    assert (rows["v"]["verdict"], rows["v"]["note"]) == ("better", "1 of 2 items left out: infinite")
    for lower, worst in ((True, np.inf), (False, -np.inf)):
        rows = one_metric({CONTROL: two(BASE, 5.0, 0), "v": two(CLEAR, worst, 3)}, lower)
        assert (rows["v"]["verdict"], rows["v"]["note"]) == ("no verdict: NaN", "NaN: seed 3")
    rows = one_metric({CONTROL: scores(*[np.inf] * 5), "v": scores(*[np.inf] * 5)})
    assert rows["v"]["verdict"] == "0 seeds: no verdict" and "1 of 1 items" in rows["v"]["note"]


def test_equal_differences_are_no_evidence_and_none_at_all_is_no_difference() -> None:
    assert one_metric({CONTROL: BASE, "v": BASE})["v"]["verdict"] == NOT_SHOWN
    shifted = {seed: {"a": run["a"] + 0.5} for seed, run in BASE.items()}
    row = one_metric({CONTROL: BASE, "v": shifted})["v"]
    assert row["verdict"] == "no verdict: the seed changes nothing" and row["difference"] == pytest.approx(0.5)


def test_items_that_some_runs_lack_are_left_out_of_the_difference() -> None:
    own = {seed: {**run, f"only {seed}": 9.0} for seed, run in CLEAR.items()}
    rows = one_metric({CONTROL: BASE, "v": own})
    assert rows["v"]["note"] == "5 of 6 items left out: not in every run"
    assert rows["v"]["difference"] == pytest.approx(np.mean([CLEAR[s]["a"] - BASE[s]["a"] for s in range(5)]))


def test_the_tables_say_it_in_words(tmp_path: Path) -> None:
    study = Recorded({(n, s): run(m=side[s]) for n, side in ((CONTROL, BASE), ("v", CLEAR)) for s in range(3)})
    page = results.markdown(results.summarise(study))
    assert "3 seeds: no verdict" in page and "Fewer than 5 seeds give no verdict" in page and "p (exact)" in page


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_study_with_a_broken_score_is_written_whole(broken: float, tmp_path: Path) -> None:
    sides = {CONTROL: BASE, "v": {**CLEAR, 2: {"a": broken}}, "w": CLEAR}
    study = Recorded({(name, seed): run(m=side[seed], k=BASE[seed]) for name, side in sides.items() for seed in BASE})
    study.folder = tmp_path / "made"
    found = results.write(study)
    note = "1 of 1 items left out: infinite" if broken > 0 else "NaN: seed 2"
    for text in (results.text(study.folder, found), (study.folder / "report.html").read_text(encoding="utf-8")):
        assert note in text and "better" in text
    assert rejudge.rejudge(study.folder / "results.json") == []


def test_runs_with_a_problem_are_named() -> None:
    healthy = {"network": "net_d_0", "accuracy": 0.8}
    saturated = {"network": "net_d_1", "accuracy": 0.99, "problem": "saturated"}
    runs = {
        (variant, seed): run(m={"item": 1.0 + seed / 10 + bonus}) | {"health": [healthy, *more]}
        for variant, bonus, more in ((CONTROL, 0.0, []), ("v", 0.1, [saturated]))
        for seed in (0, 1)
    }
    found = results.summarise(Recorded(runs))
    (table,) = found["scores"]
    notes = {row["variant"]: row.get("note") for row in table["rows"]}
    assert notes == {CONTROL: None, "v": "saturated: net_d_1 of seed 0, net_d_1 of seed 1"}
    assert {**saturated, "variant": "v", "seed": 1} in found["health"] and len(found["health"]) == 6
    assert "| v       |    1 | net_d_1 |     0.99 | saturated |" in results.markdown(found)


def test_a_failed_seed_leaves_its_variant_without_a_verdict() -> None:
    def ten(low: float, *lost: int) -> dict[int, dict[str, Any]]:
        return {seed: run(m={"a": low + seed % 3 / 10}) for seed in range(10) if seed not in lost}

    runs = {CONTROL: ten(1.0), "v": {**ten(2.0, 7), 0: run(m={"a": 2.3})}, "w": ten(2.0)}
    runs["w"][0] = runs["v"][0]
    (table,) = score_tables(runs, 0.05, failed={"v": {7}})
    rows = {row["variant"]: row for row in table["rows"]}
    assert (rows["v"]["verdict"], rows["v"]["note"]) == ("no verdict: NaN", "failed: seed 7")
    assert rows["w"]["verdict"] == "better" and "note" not in rows["w"]
    (table,) = score_tables({**runs, CONTROL: ten(1.0, 4)}, 0.05, failed={CONTROL: {4}})
    assert {row.get("note") for row in table["rows"][1:]} >= {"failed in the control: seed 4"}
    assert all(row["verdict"] == "no verdict: NaN" for row in table["rows"][1:])


def test_scores_by_different_protocols_are_never_compared() -> None:
    def by(protocol: str, value: float) -> dict[int, dict[str, Any]]:
        scores = {"metrics": {"m": {"a": value}}, "protocol": protocol}
        return {seed: {"scores": {"set": scores}} for seed in range(5)}

    tables = score_tables({CONTROL: by("RGB", 1.0), "v": by("Y", 3.0)}, 0.05)
    assert [table["protocol"] for table in tables] == ["RGB", "Y"]
    for table in tables:
        assert all(row["protocol"] == table["protocol"] for row in table["rows"])
        assert "difference" not in table["rows"][1]


def test_a_bias_has_no_better_direction() -> None:
    runs = {
        name: {seed: run(bias=items) for seed, items in own.items()} for name, own in ((CONTROL, BASE), ("v", CLEAR))
    }
    (table,) = score_tables(runs, 0.05)
    assert table["rows"][1]["verdict"] == "no verdict: 0 is best" and table["rows"][1]["p"] < 0.05
