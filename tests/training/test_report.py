from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from srkd.cli.main import main
from srkd.training import report
from srkd.training.run import Run


def test_report_of_a_finished_run(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["val"] = {"val_freq": 3}
    run = Run(recipe, tmp_path, quiet=True)
    page = report.write(run, run.train()).read_text()
    for heading in ("Scores", "Details of photos", "Every image", "Losses", "psnr_photos while training", "Recipe"):
        assert f"<h2>{heading}</h2>" in page
    assert "trained" in page and "total_iter: 6" in page and "Protocol: x2, MATLAB bicubic LR" in page


def test_each_stage_has_curves_and_without_validation_there_are_no_scores(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    del recipe["datasets"]["val"]
    recipe["stages"] = [{"train": {"total_iter": 2}}, {"train": {"total_iter": 3}}]
    run = Run(recipe, tmp_path, quiet=True)
    page = report.write(run, run.train()).read_text()
    assert "<h2>Stage 1: Losses</h2>" in page and "<h2>Stage 2: Losses</h2>" in page
    assert "<h2>Scores</h2>" not in page
    assert page.count("total_iter: 2\n") == page.count("total_iter: 3\n") == 1


def test_a_failed_report_does_not_fail_the_training(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    from srkd.errors import SrkdError

    def fail(*arguments: Any) -> None:
        raise SrkdError("the images are gone")

    monkeypatch.setattr(report, "write", fail)
    path = tmp_path / "recipe.yml"
    path.write_text(yaml.safe_dump(copy.deepcopy(recipe)))
    assert main(["train", "-opt", str(path), "--output", str(tmp_path)]) == 0
    assert "no report: the images are gone" in capsys.readouterr().err
    assert (tmp_path / "tiny" / "models" / "net_g_latest.safetensors").is_file()
