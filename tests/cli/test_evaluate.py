from pathlib import Path

import pytest

from srkd.cli.main import main


def test_metrics_are_chosen_by_name(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--model", "bicubic", "--scale", "2", "--data", str(photos), "--output", str(tmp_path)]
    assert main([*command, "--metrics", "ssim"]) == 0
    printed = capsys.readouterr().out
    assert "SSIM" in printed and "PSNR" not in printed and "border 2 px" in printed
    assert "SSIM" in (tmp_path / "results.md").read_text()
    assert main([*command, "--metrics", "psnr", "ssimm"]) == 1
    assert 'unknown metric "ssimm" (did you mean "ssim"' in capsys.readouterr().err


def test_scores_are_printed_although_the_report_cannot_be_written(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").mkdir()
    command = ["evaluate", "--model", "bicubic", "--scale", "2", "--data", str(photos)]
    assert main([*command, "--output", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "border 2 px" in printed.out and "results.json: there is a folder of that name" in printed.err
