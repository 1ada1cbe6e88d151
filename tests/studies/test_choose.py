"""Settings chosen from a study of settings and written into the final study."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from srkd.errors import SrkdError
from srkd.studies import choose, plan

CE = {"type": "CrossEntropyLoss"}


def kd(weight: float) -> list[dict[str, Any]]:
    return [CE, {"type": "kd", "weight": weight}]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A study of three weights of kd and two of rkd_plain, its results, and a final study."""
    tried = {"kd_0.1": 60.0, "kd_1": 63.0, "kd_10": 62.0, "rkd_plain_1": 61.0, "rkd_plain_2": 61.5, "control": 90.0}
    rkd = {"type": "rkd", "at": "encoder"}
    variants = [{"name": f"kd_{weight:g}", "losses": kd(weight)} for weight in (0.1, 1, 10)]
    variants += [{"name": f"rkd_plain_{weight}", "losses": [CE, {**rkd, "weight": weight}]} for weight in (1, 2)]
    final = [
        {"name": "control", "losses": [CE]},
        {"name": "kd", "losses": kd(5), "set": {"batch_size": 8}},
        {"name": "rkd_plain", "losses": [CE, rkd]},
        {"name": "other", "losses": [CE]},
    ]
    base = {"name": "base", "train": {"total_iter": 1}}
    settings, results, study = (tmp_path / name for name in ("weights.yml", "results.json", "study.yml"))
    settings.write_text(yaml.safe_dump({"name": "weights", "base": base, "variants": variants}))
    study.write_text(
        "# What it compares.\n# And how.\n" + yaml.safe_dump({"name": "s", "base": base, "variants": final})
    )
    rows = [{"variant": name, "seeds": 1, "mean": mean} for name, mean in tried.items()]
    tables = [
        {"set": "held-out", "metric": "accuracy", "rows": rows},
        {"set": "held-out", "metric": "nll", "rows": rows},
    ]
    results.write_text(json.dumps({"lower": ["nll"], "scores": tables}))
    return settings, results, study


def test_the_best_setting_of_each_method_is_written(
    files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    choose.main([str(file) for file in files])
    assert capsys.readouterr().out == "kd: kd_1\nrkd_plain: rkd_plain_2, at the edge of its grid\n"
    text = files[2].read_text()
    assert text.startswith("# What it compares.\n# And how.\nbase:")
    found = {variant.name: variant for variant in plan.read(files[2]).variants}
    assert found["kd"].losses == kd(1) and found["kd"].set == {"batch_size": 8}
    assert found["rkd_plain"].losses[1]["weight"] == 2 and found["other"].losses == [CE]


def test_a_metric_whose_lower_values_are_better(files: tuple[Path, Path, Path]) -> None:
    assert choose.choose(*files, "nll")[0] == "kd: kd_0.1, at the edge of its grid"


def test_settings_of_the_training_and_a_set_among_several(files: tuple[Path, Path, Path]) -> None:
    settings, results, study = files
    tried = yaml.safe_load(settings.read_text())
    tried["variants"][1]["set"] = {"train.optim.lr": 0.3, "batch_size": 4}
    settings.write_text(yaml.safe_dump(tried))
    found = json.loads(results.read_text())
    rows = [{"variant": name, "mean": mean} for name, mean in (("kd_0.1", 2.0), ("kd_1", 3.0), ("kd_10", 1.0))]
    found["scores"].append({"set": "validation", "metric": "accuracy", "rows": rows})
    results.write_text(json.dumps(found))
    with pytest.raises(SrkdError, match=r'2 tables of the metric "accuracy".*accuracy on held-out.*on validation'):
        choose.choose(settings, results, study, "accuracy")
    assert choose.choose(settings, results, study, "accuracy", "validation") == ["kd: kd_1"]
    found = {variant.name: variant for variant in plan.read(study).variants}
    assert found["kd"].set == {"batch_size": 8, "train.optim.lr": 0.3} and found["kd"].losses == kd(1)


def test_invalid_results_raise(files: tuple[Path, Path, Path]) -> None:
    settings, results, study = files
    before = study.read_text()
    with pytest.raises(
        SystemExit, match='0 tables of the metric "ece", expected one: the study has accuracy on held-out, nll on'
    ):
        choose.main([*map(str, files), "--metric", "ece"])
    found = json.loads(results.read_text())
    del found["scores"][0]["rows"][1]["mean"]
    results.write_text(json.dumps(found))
    with pytest.raises(SrkdError, match='"kd_1": no finished run'):
        choose.choose(settings, results, study, "accuracy")
    results.write_text("[]")
    with pytest.raises(SrkdError, match="not the results of a study"):
        choose.choose(settings, results, study, "accuracy")
    assert study.read_text() == before


def test_a_setting_that_failed_or_diverged_is_never_chosen(files: tuple[Path, Path, Path]) -> None:
    settings, results, study = files
    found = json.loads(results.read_text())
    rows = found["scores"][0]["rows"]
    rows[0]["mean"], rows[1]["mean"] = float("nan"), 99.0
    found["failed"] = [{"variant": "kd_1", "seed": 3, "error": "NaN"}]
    results.write_text(json.dumps(found))
    assert choose.choose(settings, results, study, "accuracy")[0] == "kd: kd_10, at the edge of its grid"
    rows[3]["seeds"] = 5
    results.write_text(json.dumps(found))
    with pytest.raises(SrkdError, match=r"rkd_plain: different numbers of seeds \(rkd_plain_1 5, rkd_plain_2 1\)"):
        choose.choose(settings, results, study, "accuracy")
    found["failed"] = [{"variant": f"kd_{weight}", "seed": 3, "error": "NaN"} for weight in (1, 10)]
    results.write_text(json.dumps(found))
    with pytest.raises(SrkdError, match="kd: every setting failed"):
        choose.choose(settings, results, study, "accuracy")


def test_choosing_again_leaves_nothing_of_the_first_choice(files: tuple[Path, Path, Path]) -> None:
    settings, results, study = files
    tried = yaml.safe_load(settings.read_text())
    tried["variants"][1]["set"] = {"train.optim.lr": 0.3}
    settings.write_text(yaml.safe_dump(tried))
    choose.choose(settings, results, study, "accuracy")
    found = json.loads(results.read_text())
    found["scores"][0]["rows"][2]["mean"] = 80.0
    results.write_text(json.dumps(found))
    assert choose.choose(settings, results, study, "accuracy")[0].startswith("kd: kd_10")
    assert {variant.name: variant for variant in plan.read(study).variants}["kd"].set == {"batch_size": 8}
