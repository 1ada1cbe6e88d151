"""Studies that continue from the runs in a results file."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from study_files import opened

from srkd.cli import main
from srkd.errors import SrkdError
from srkd.studies import plan, results
from srkd.studies.runs import Comparison
from srkd.training.run import Run


def reopened(study: dict[str, Any], folder: Path, recorded: Path) -> Comparison:
    folder.mkdir(exist_ok=True)
    path = folder / "study.yml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return Comparison(plan.read(path), folder / "elsewhere", recorded)


def test_a_study_continues_from_recorded_results_without_the_runs_folders(
    study: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `srkd compare --results` does on a machine that has only the file."""
    study["variants"], study["base"]["cache"]["patches"] = study["variants"][:1], 4
    path = tmp_path / "study.yml"
    path.write_text(yaml.safe_dump({**study, "seeds": [0]}), encoding="utf-8")
    recorded = tmp_path / "kept" / "tiny_results.json"
    command = ["compare", str(path), "--results", str(recorded), "--output"]
    assert main.main([*command, str(tmp_path / "first")]) == 0
    before = json.loads(recorded.read_text(encoding="utf-8"))
    assert len(before["runs"]) == 2 and recorded.with_suffix(".md").is_file()

    trained: list[int] = []
    train = Run.train
    monkeypatch.setattr(Run, "train", lambda run: (trained.append(run.recipe.manual_seed), train(run))[1])
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    assert main.main([*command, str(tmp_path / "second")]) == 0
    after = json.loads(recorded.read_text(encoding="utf-8"))
    assert trained == [1, 1]
    assert [run for run in after["runs"] if run["seed"] == 0] == before["runs"]
    assert after["missing"] == 0 and {row["seeds"] for row in after["scores"][0]["rows"]} == {2}

    # A run that was begun here does not hide one that was finished elsewhere.
    begun = tmp_path / "third" / "tiny" / "control" / "seed_0.json"
    begun.parent.mkdir(parents=True)
    begun.write_text(json.dumps({**before["runs"][0], "status": "begun"}), encoding="utf-8")
    assert main.main([*command, str(tmp_path / "third")]) == 0
    assert len(trained) == 2
    # Nor does one that was scored here on other sets.
    begun.write_text(json.dumps({**before["runs"][0], "sets": []}), encoding="utf-8")
    assert main.main([*command, str(tmp_path / "third")]) == 0
    assert len(trained) == 2

    # Settings are compared as with runs that were trained here.
    study["variants"][0]["losses"][1]["weight"] = 0.7
    with pytest.raises(SrkdError, match=r'variant "output": train changed since seed 0 .* or train it again'):
        reopened(study, tmp_path, recorded).check()


def test_two_commands_add_to_one_results_file(study: dict[str, Any], tmp_path: Path) -> None:
    study["variants"], study["base"]["cache"]["patches"] = study["variants"][:1], 4
    recorded = tmp_path / "tiny_results.json"
    both = [reopened(study, tmp_path / name, recorded) for name in "ab"]
    for number, comparison in enumerate(both, 1):
        comparison.check()
        comparison.train((number, 4), quiet=True)
    for comparison in both:
        results.write(comparison, recorded)
    found = json.loads(recorded.read_text(encoding="utf-8"))
    assert {(run["variant"], run["seed"]) for run in found["runs"]} == {("control", 0), ("output", 0)}


def test_a_study_takes_its_control_from_another_study(
    study: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study["base"]["cache"] |= {"kind": "bank", "patches": 4}
    first = opened({**study, "variants": study["variants"][:1]}, tmp_path)
    first.check()
    assert first.train(quiet=True)
    results.write(first)
    second = opened(
        {**study, "name": "second", "variants": study["variants"][1:], "control_from": "out/tiny/results.json"},
        tmp_path,
    )
    second.check()
    assert second.train(quiet=True)
    assert not (second.folder / "control").exists()
    found = results.summarise(second)
    assert found["missing"] == 0
    assert [r for r in found["runs"] if r["variant"] == "control"] == [first.result("control", s) for s in (0, 1)]
    other = {**study, "name": "third", "control_from": "out/tiny/results.json"}
    other["base"] = {**study["base"], "train": {**study["base"]["train"], "optim_g": {"type": "Adam", "lr": 7e-4}}}
    with pytest.raises(SrkdError, match='variant "control": train changed since seed 0 was trained'):
        opened(other, tmp_path).check()
    assert opened({**study, "control_from": "later.json"}, tmp_path).recorded == {}
    assert "later.json not found: tiny trains its own control" in capsys.readouterr().err


def test_results_of_another_study_are_not_continued(study: dict[str, Any], tmp_path: Path) -> None:
    recorded = tmp_path / "results.json"
    run = {"variant": "output", "seed": 7}
    content = {"study": "other", "alpha": 0.05, "scores": [], "runs": [run]}
    for wrong, message in (
        ("{", "not the results of a study"),
        (json.dumps(content), 'results of the study "other", not of "tiny"'),
        (json.dumps({**content, "study": "tiny"}), "would be removed from it: output, seed 7; add"),
    ):
        recorded.write_text(wrong, encoding="utf-8")
        with pytest.raises(SrkdError, match=message):
            reopened(study, tmp_path, recorded)
