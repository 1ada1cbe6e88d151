"""Zoo models that imitate a teacher: measured by their distance to its outputs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from srkd import resources
from srkd.commands import imitation_cards, zoo
from srkd.errors import SrkdError
from srkd.images.read import read_image
from srkd.networks import zoo as shelf


@pytest.fixture
def models(imitation: dict[str, Any], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of an imitation and its control, trained, whose degraded held-out images are `photos`."""
    folder = tmp_path / "models"
    imitation["bank"]["dir"] = str(tmp_path / "banks")
    monkeypatch.setattr(resources, "folder", lambda name: tmp_path / name)
    monkeypatch.setattr(shelf, "external", lambda: [])
    monkeypatch.setattr(imitation_cards, "HELD_OUT", str(photos))
    monkeypatch.chdir(tmp_path)
    for name, target in (("student", "teacher"), ("control", "gt")):
        (folder / name).mkdir(parents=True)
        losses = {"losses": [{"type": "L1Loss", "target": target}]}
        recipe = {**imitation, "name": name, "train": {**imitation["train"], **losses}}
        (folder / name / "recipe.yml").write_text(yaml.safe_dump(recipe))
        about: dict[str, Any] = {"default": False, "licence": "CC0", "notes": "For tests.", "metrics": ["psnr", "ssim"]}
        about |= {"compared": ["control"]} if name == "student" else {}
        (folder / name / "about.yml").write_text(yaml.safe_dump(about))
        zoo.train(name)
    return folder


def test_the_card_states_distances_to_the_teacher_and_paired_differences(
    models: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = tmp_path / "real"
    shutil.copytree(photos, real)
    metrics = zoo.verify("student", [str(real)])
    assert metrics["imitates"] == "teacher" and metrics["teacher"] == "teacher"
    assert set(metrics["sets"]) == set(metrics["bicubic"]) == {photos.name, "real"}
    assert set(metrics["compared"]) == {"control"} and set(metrics["differences"]) == {"bicubic", "control"}
    ours, theirs = metrics["sets"]["real"]["psnr"], metrics["compared"]["control"]["real"]["psnr"]
    paired = metrics["differences"]["control"]["real"]["psnr"]
    assert paired["difference"] == pytest.approx(ours - theirs)
    assert paired["low"] <= paired["difference"] <= paired["high"] and 0 <= paired["better"] <= paired["images"]
    card = (models / "student" / "README.md").read_text()
    assert "## Distance to the teacher" in card and f"{paired['difference']:+.3f}" in card and f"{ours:.2f}" in card
    assert json.loads((models / "student" / "metrics.json").read_text()) == metrics
    assert read_image(models / "student" / "image.png").pixels.shape[2] == 3
    assert "teacher on real" in capsys.readouterr().err
    (tmp_path / "other" / "real").mkdir(parents=True)
    with pytest.raises(SrkdError, match="two sets have the same name"):
        zoo.verify("student", [str(real), str(tmp_path / "other" / "real")])
    (models / "student" / "recipe.yml").write_text("name: student\nscale: 4\n")
    with pytest.raises(SrkdError, match="student: --data must list"):
        zoo.verify("student", [])
