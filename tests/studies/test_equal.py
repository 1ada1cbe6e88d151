import json
from pathlib import Path
from typing import Any

import pytest

from srkd.errors import SrkdError
from srkd.studies import equal

SEEDS = range(5)


def results(psnr: float, niqe: float) -> dict[str, Any]:
    """Controls on the line niqe = psnr - 20, at 24, 25 and 26 dB plus a seed's shift, and a variant."""
    points = {"control": (24.0, 4.0), "half": (25.0, 5.0), "quarter": (26.0, 6.0), "mutual": (psnr, niqe)}
    runs = [
        {
            "variant": variant,
            "seed": seed,
            "scores": {"Set14": {"protocol": "Y", "metrics": _metrics(x + seed, y + seed + seed % 2 * 0.01)}},
        }
        for variant, (x, y) in points.items()
        for seed in SEEDS
    ]
    return {"study": "made", "alpha": 0.05, "lower": ["niqe"], "scores": [], "runs": runs}


def _metrics(psnr: float, niqe: float) -> dict[str, dict[str, float]]:
    return {"psnr": {"a": psnr}, "niqe": {"a": niqe}}


LADDER = ["control", "half", "quarter"]


def test_a_point_on_the_curve_differs_by_nothing() -> None:
    (row,) = equal.at_equal(results(25.5, 5.5), ["mutual"], LADDER, "psnr")
    assert row["difference"] == pytest.approx(0, abs=1e-12) and row["outside"] == 0
    assert (row["set"], row["metric"], row["seeds"]) == ("Set14", "niqe", 5) and row["psnr"] == 27.5


def test_a_point_below_the_curve_is_better_where_lower_is() -> None:
    found = results(25.5, 5.0)
    for run in found["runs"]:
        if run["variant"] == "mutual":
            run["scores"]["Set14"]["metrics"]["niqe"]["a"] += 0.02 * run["seed"]
    (row,) = equal.at_equal(found, ["mutual"], LADDER, "psnr")
    assert row["difference"] == pytest.approx(-0.46) and row["verdict"] == "better"


def test_several_variants_are_compared_with_the_ladder_of_another_study() -> None:
    """Their p values are corrected together; a variant named as a control is not taken for it."""
    found, controls = results(25.5, 5.0), results(0.0, 0.0)
    found["runs"] = [
        {**run, "variant": {"mutual": "a", "half": "control"}.get(run["variant"], "b")} for run in found["runs"][5:]
    ]
    for run in found["runs"]:
        run["scores"]["Set14"]["metrics"]["niqe"]["a"] += 0.02 * run["seed"] ** 2
    rows = {row["variant"]: row for row in equal.at_equal(found, ["a", "control"], LADDER, "psnr", controls)}
    (alone,) = equal.at_equal(found, ["a"], LADDER, "psnr", controls)
    assert rows["a"]["difference"] == alone["difference"] == pytest.approx(-0.38)
    assert rows["control"]["difference"] == pytest.approx(0.12)
    assert rows["a"]["p"] == alone["p"] and rows["a"]["p_holm"] > alone["p_holm"]


def test_a_variant_outside_the_ladder_is_counted_and_not_extrapolated() -> None:
    (row,) = equal.at_equal(results(27.0, 6.5), ["mutual"], LADDER, "psnr")
    assert row["outside"] == 5 and row["difference"] == pytest.approx(0.5)


@pytest.mark.parametrize("bad", ["mutual", "half"])
def test_failed_and_invalid_runs_leave_no_verdict(bad: str) -> None:
    """They would favour what diverges if they were left out."""
    failed = results(25.5, 5.0)
    failed["failed"] = [{"variant": bad, "seed": 5, "error": "training diverged"}]
    invalid = results(25.5, 5.0)
    (run,) = (run for run in invalid["runs"] if (run["variant"], run["seed"]) == (bad, 2))
    run["scores"]["Set14"]["metrics"]["psnr"]["a"] = float("nan")
    for found in (failed, invalid):
        (row,) = equal.at_equal(found, ["mutual"], LADDER, "psnr")
        assert row["verdict"] == "no verdict: NaN" and "difference" not in row


def test_scores_of_different_protocols_are_not_compared() -> None:
    mixed = results(25.5, 5.5)
    for run in mixed["runs"]:
        if run["variant"] == "half":
            run["scores"]["Set14"]["protocol"] = "RGB"
    with pytest.raises(SrkdError, match=r"Set14 \(Y\): no seed of mutual is finished in every one of control, half"):
        equal.at_equal(mixed, ["mutual"], LADDER, "psnr")


def test_the_command(tmp_path: Path) -> None:
    path, output = tmp_path / "results.json", tmp_path / "equal.json"
    path.write_text(json.dumps(results(25.5, 5.5)), encoding="utf-8")
    equal.main([str(path), str(output), "--variant", "mutual", "--ladder", *LADDER])
    assert json.loads(output.read_text(encoding="utf-8"))[0]["variant"] == "mutual"
    with pytest.raises(SystemExit, match=r"equal: .*no seed of other is finished"):
        equal.main([str(path), str(output), "--variant", "other", "--ladder", *LADDER])


def test_one_control_is_no_ladder() -> None:
    with pytest.raises(SrkdError, match="at least two controls, got control"):
        equal.at_equal(results(25.5, 5.5), ["mutual"], ["control"], "psnr")


def test_results_that_do_not_say_which_metrics_are_better_when_lower_raise() -> None:
    found = results(25.5, 5.5)
    del found["lower"]
    with pytest.raises(SrkdError, match="lower is better: run `srkd compare --judge` on them"):
        equal.at_equal(found, ["mutual"], LADDER, "psnr")
