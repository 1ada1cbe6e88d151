import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from srkd import networks
from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.metrics import against
from srkd.metrics.scores import Protocol
from srkd.training.checkpoint import save_weights

STUDENT = {"parameters": 49_603, "multiply_adds": 11.65e9}  # edsr_16x8_x2
LARGER = {"parameters": 56_000, "multiply_adds": 13.0e9}


def scored(psnr: float, **changes: Any) -> dict[str, Any]:
    return {"psnr": psnr, "ssim": 0.96, "protocol": Protocol.default(2, **changes).as_dict()}


def test_the_nearest_in_each_size() -> None:
    found = {each.name: each.size for each in against.neighbours(2, STUDENT, ["Set5"])}
    assert found == {
        "PlainUSR-T": ("fewer parameters", "fewer multiply-adds"),
        "SRCNN": ("more parameters",),
        "PlainUSR-S": ("more multiply-adds",),
    }
    assert "ETDS-M" in {each.name for each in against.neighbours(2, STUDENT, ["Urban100"])}  # the others have none


def test_the_smallest_and_the_largest_have_one_side() -> None:
    tiny = against.neighbours(2, {"parameters": 100, "multiply_adds": 1e6}, ["Set5"])
    assert [(each.name, each.size) for each in tiny] == [("ECBSR-M4C16", ("more parameters", "more multiply-adds"))]
    huge = against.neighbours(2, {"parameters": 10**8, "multiply_adds": None}, ["Set5"])
    assert [(each.name, each.size) for each in huge] == [("CARN", ("fewer parameters",))]


def test_differences_are_ours_minus_theirs_on_the_sets_of_both() -> None:
    scores = {"Set5": scored(37.46), "Urban100": scored(30.5)}
    found = {each["network"]: each for each in against.beside(2, LARGER, scores)}
    assert found["SRCNN"]["same_protocol"] and found["SRCNN"]["parameters"] == 57_000
    assert not found["ETDS-M"]["same_protocol"] and found["ETDS-M"]["protocol"] == "HR cropped to a multiple of 12"
    sets = found["ETDS-M"]["sets"]
    assert sets["Set5"]["differences"] == {"psnr": pytest.approx(-0.08), "ssim": pytest.approx(0.0007)}
    assert sets["Urban100"]["psnr"] == 30.87 and sets["Urban100"]["differences"]["psnr"] == pytest.approx(-0.37)


def test_images_that_are_not_verified_are_another_protocol() -> None:
    found = against.beside(2, LARGER, {"Set5": scored(37.46, verified=False)})
    differs = {each["network"]: each["protocol"] for each in found}
    assert differs["SRCNN"] == "images of Set5 not verified"
    assert differs["ETDS-M"] == "HR cropped to a multiple of 12; images of Set5 not verified"


@pytest.mark.parametrize(
    ("scale", "sets", "metrics", "message"),
    [
        (8, {"Set5": Protocol.default(8)}, ["psnr"], "no published results for x8.*x2, x3, x4"),
        (2, {"holiday": Protocol.default(2)}, ["psnr"], "holiday: no published results at x2.*B100, Set14, Set5"),
        (2, {"Set5": Protocol.default(2, lr="given")}, ["psnr"], "Set5: .*another protocol.*this is x2, LR as given"),
        (2, {"Set5": Protocol.default(2, channel="RGB")}, ["psnr"], "another protocol.*Y.*this is .*RGB"),
        (2, {"Set5": Protocol.default(2, self_ensemble=True)}, ["psnr"], "another protocol.*self-ensemble"),
        (2, {"Set5": Protocol.default(2)}, ["niqe"], "published results are psnr and ssim, not niqe"),
    ],
)
def test_what_cannot_be_compared_is_stated_in_one_line(
    scale: int, sets: dict[str, Protocol], metrics: list[str], message: str
) -> None:
    with pytest.raises(SrkdError, match=message) as error:
        against.check(scale, sets, metrics)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    spec = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    save_weights(path, networks.build(spec).state_dict(), {"network": spec, "scale": 2})
    return str(path)


def test_the_command_prints_and_reports_the_comparison(
    student: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(photos, tmp_path / "Set5")
    command = ["evaluate", "--model", "bicubic", student, "--data", str(tmp_path / "Set5"), "--against", "published"]
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    printed, written = capsys.readouterr().out, (tmp_path / "out" / "results.md").read_text()
    for text in (printed, written):
        assert "Beside published networks: PSNR (dB), and in brackets by how much the model's is higher" in text
        assert "ECBSR-M4C16" in text and "more parameters, more multiply-adds" in text and "37.18 (-" in text
        assert "no: HR cropped to a multiple of 12; images of Set5 not verified" in text
    assert "Beside published networks" in (tmp_path / "out" / "report.html").read_text()
    bicubic, ours = json.loads((tmp_path / "out" / "results.json").read_text())["models"]
    assert "published" not in bicubic and [each["network"] for each in ours["published"]] == ["ECBSR-M4C16"]


def test_a_set_without_results_is_rejected_before_anything_is_scored(
    student: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", student, "--data", str(photos), "--against", "published"]) == 1
    assert f"{photos.name}: no published results at x2" in capsys.readouterr().err
    assert main(["evaluate", "--model", "bicubic", "--scale", "2", "--data", "Set5", "--against", "published"]) == 1
