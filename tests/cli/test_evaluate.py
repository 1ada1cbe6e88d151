from pathlib import Path

import pytest

from srkd.cli.main import main
from srkd.images.read import ImageData, read_image, write_image
from srkd.images.resize import imresize


def test_metrics_are_chosen_by_name(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--model", "bicubic", "--scale", "2", "--data", str(photos), "--output", str(tmp_path)]
    assert main([*command, "--metrics", "ssim"]) == 0
    printed = capsys.readouterr().out
    assert "SSIM" in printed and "PSNR" not in printed and "border 2 px" in printed
    assert "SSIM" in (tmp_path / "results.md").read_text()
    assert main([*command, "--metrics", "psnr", "ssimm"]) == 1
    assert 'unknown metric "ssimm" (did you mean "ssim"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--model", "bicubic"], "needs --scale"),
        (["--model", "edsr"], 'unknown zoo model "edsr"'),
        (["--model", "edsr_16x8_x2", "edsr_16x8_x4"], "need the same scale"),
        (["--model", "edsr_16x8_x2", "--metrics", "ssimm"], 'unknown metric "ssimm"'),
    ],
)
def test_mistakes_are_found_before_data_sets_are_downloaded(
    wrong: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SRKD_DATA", raising=False)
    monkeypatch.setattr("srkd.data.manifests.download", lambda *_, **__: pytest.fail("downloaded"))
    assert main(["evaluate", *wrong, "--data", "Set5"]) == 1
    assert words in capsys.readouterr().err


def test_scores_are_printed_although_the_report_cannot_be_written(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").mkdir()
    command = ["evaluate", "--model", "bicubic", "--scale", "2", "--data", str(photos)]
    assert main([*command, "--output", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "border 2 px" in printed.out and "results.json: there is a folder of that name" in printed.err


def test_sets_of_different_protocols_have_a_table_each(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image, *_) = sorted(photos.iterdir())
    for folder, pixels in (("hr", read_image(image).pixels), ("lr", imresize(read_image(image).pixels, 0.5))):
        write_image(tmp_path / folder / image.name, ImageData(pixels))
    sets = [str(photos), f"{tmp_path / 'hr'}:{tmp_path / 'lr'}"]
    out = tmp_path / "out"
    assert main(["evaluate", "--model", "bicubic", "--scale", "2", "--data", *sets, "--output", str(out)]) == 0
    page = (out / "report.html").read_text()
    for text, each in ((capsys.readouterr().out, 1), ((out / "results.md").read_text(), 1), (page, 2)):
        assert text.count("x2, MATLAB bicubic LR") == text.count("x2, LR as given") == each
    assert page.count("<h2>Scores</h2>") == page.count("<h2>Every image</h2>") == 1
