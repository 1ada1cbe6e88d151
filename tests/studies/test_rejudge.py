import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from srkd.cli import main
from srkd.errors import SrkdError
from srkd.studies import rejudge
from srkd.studies.statistics import MIN_SEEDS, NOT_SHOWN

STUDIES = Path(__file__).parents[2] / "models" / "studies"


def results(seeds: int = 5, **more: Any) -> dict[str, Any]:
    """Results of an earlier version: another verdict, and no record of the metrics for which lower is better."""
    made = {"control": [1.0, 1.1, 0.9, 1.05, 1.0], "kd": [1.5, 1.62, 1.4, 1.5, 1.55], "same": [1.1, 1.0, 0.9, 1.0, 1.1]}
    runs = [
        {"variant": name, "seed": seed, "scores": {"test": {"metrics": {"rmse": {"a": value}}, "protocol": "made"}}}
        for name, values in made.items()
        for seed, value in enumerate(values[:seeds])
    ]
    rows = [{"variant": name, "seeds": seeds, "verdict": "worse"} for name in made]
    del rows[0]["verdict"]
    scores = [{"set": "test", "metric": "rmse", "protocol": "made", "rows": rows}]
    return {
        "study": "made",
        "alpha": 0.05,
        "scores": scores,
        "costs": [],
        "terms": [],
        "curves": {},
        "failed": [],
        "missing": 0,
        "runs": runs,
        **more,
    }


def written(folder: Path, name: str, content: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder / name


def test_verdicts_are_computed_again_from_the_runs(tmp_path: Path) -> None:
    path = written(tmp_path, "a_results.json", results())
    (tmp_path / "a.yml").write_text(yaml.safe_dump({"lower": ["rmse"]}), encoding="utf-8")
    (changed,) = rejudge.rejudge(path)
    assert {key: changed[key] for key in ("set", "metric", "variant", "before", "now")} == {
        "set": "test",
        "metric": "rmse",
        "variant": "same",
        "before": "worse",
        "now": NOT_SHOWN,
    }
    judged = json.loads(path.read_text(encoding="utf-8"))
    assert judged["runs"] == results()["runs"] and judged["lower"] == ["rmse"]
    rows = {row["variant"]: row for row in judged["scores"][0]["rows"]}
    assert rows["kd"]["verdict"] == "worse" and rows["kd"]["low"] > 0 and "verdict" not in rows["control"]
    assert "| kd " in (tmp_path / "a_results.md").read_text(encoding="utf-8")
    # It is recorded now, and judging again changes nothing.
    (tmp_path / "a.yml").unlink()
    before = path.read_bytes()
    assert rejudge.rejudge(path) == [] and path.read_bytes() == before


def test_tables_of_two_protocols_are_compared_each_with_its_own(tmp_path: Path) -> None:
    content = results(lower=["rmse"])
    again = results(lower=["rmse"])["runs"]
    for run in again:
        run["seed"] += 5
        run["scores"]["test"]["protocol"] = "other"
        run["scores"]["test"]["metrics"]["rmse"]["a"] *= -1
    content["runs"] += again
    path = written(tmp_path, "results.json", content)
    rejudge.rejudge(path)
    tables = {t["protocol"]: t["rows"][1]["verdict"] for t in json.loads(path.read_text(encoding="utf-8"))["scores"]}
    assert tables == {"made": "worse", "other": "better"}
    assert rejudge.rejudge(path) == []


def test_which_metrics_are_better_when_lower_must_be_known(tmp_path: Path) -> None:
    path = written(tmp_path, "results.json", results())
    before = path.read_bytes()
    with pytest.raises(SrkdError, match=r"study\.yml is not next to it"):
        rejudge.rejudge(path)
    assert path.read_bytes() == before
    (tmp_path / "study.yml").write_text("name: made\n", encoding="utf-8")
    rejudge.rejudge(path)
    assert json.loads(path.read_text(encoding="utf-8"))["scores"][0]["rows"][1]["verdict"] == "better"


def test_the_command_takes_files_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path / "one", "results.json", results(lower=["rmse"]))
    path = written(tmp_path / "two" / "deeper", "b_results.json", results(seeds=3, lower=["rmse"]))
    assert main.main(["compare", "--judge", str(path)]) == 0
    output = capsys.readouterr()
    assert (
        output.out.count("3 seeds: no verdict") == 2
        and "1 results files judged again, 2 verdicts changed" in output.err
    )
    assert main.main(["compare", "--judge", "--json", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert [row["variant"] for row in json.loads(output.out)] == [
        "same"
    ] and "2 results files judged again, 1 v" in output.err


@pytest.mark.parametrize(
    "option",
    ["--shard 1/2", "--variants a", "--output o", "--results r", "--budget 9m", "--dry-run", "--jobs 2", "--on ray"],
)
def test_an_option_of_training_raises(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "results.json", results(lower=["rmse"]))
    before = path.read_bytes()
    assert main.main(["compare", "--judge", str(path), *option.split()]) == 1
    assert f"leave out {option.split()[0]}\n" in capsys.readouterr().err and path.read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"study": "a"}'])
def test_files_that_are_no_results_raise(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.json").write_text(content, encoding="utf-8")
    assert main.main(["compare", "--judge", str(tmp_path)]) == 1
    assert "not the results of a study" in capsys.readouterr().err
    (tmp_path / "results.json").unlink()
    assert main.main(["compare", "--judge", str(tmp_path)]) == 1
    assert "no results of a study found" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", sorted(STUDIES.rglob("*results.json")), ids=lambda path: str(path.relative_to(STUDIES))
)
def test_committed_results_have_current_verdicts(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "results.json"
    copy.write_bytes(path.read_bytes())
    assert rejudge.rejudge(copy) == []
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert page == copy.with_suffix(".md").read_text(encoding="utf-8")
    rows = [row for table in json.loads(copy.read_text(encoding="utf-8"))["scores"] for row in table["rows"]]
    assert not any(row["seeds"] < MIN_SEEDS and row.get("verdict") in ("better", "worse") for row in rows)


def test_options_of_trainings_are_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "results.json", results())
    before = path.read_bytes()
    assert main.main(["compare", str(path), "--judge", "--dry-run", "--variants", "kd"]) == 1
    assert "leave out --variants, --dry-run" in capsys.readouterr().err
    assert path.read_bytes() == before
