import json
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from srkd import resources
from srkd.cli import main
from srkd.commands import zoo
from srkd.errors import SrkdError
from srkd.executor import LocalExecutor
from srkd.images.read import read_image
from srkd.inference.model import Model
from srkd.networks import zoo as shelf


@pytest.fixture
def models(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo of one tiny untrained model, and a folder for its runs."""
    folder = tmp_path / "models"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "recipe.yml").write_text(yaml.safe_dump(recipe))
    about = {"default": True, "licence": "CC0", "notes": "For tests."}
    (folder / "tiny" / "about.yml").write_text(yaml.safe_dump(about))
    shutil.copy(resources.folder("models") / "published.yml", folder)
    monkeypatch.setattr(resources, "folder", lambda name: tmp_path / name)
    monkeypatch.setattr(shelf, "external", lambda: [])
    monkeypatch.chdir(tmp_path)
    return folder


def test_slices_end_in_a_model_with_scores_and_a_card(models: Path, photos: Path, tmp_path: Path) -> None:
    assert zoo.listing()[0]["status"] == "not trained"
    with pytest.raises(SrkdError, match="tiny is not trained yet"):
        shelf.weights("tiny")
    zoo.train("tiny", budget=0)
    state = models / "tiny" / "state.pt"
    assert state.is_file() and zoo.listing()[0]["status"] == "in training"
    # Another machine has the committed state alone.
    (tmp_path / "experiments").rename(tmp_path / "elsewhere")
    while not zoo.train("tiny", budget=0)["finished"]:
        pass
    assert not state.exists()
    metrics = zoo.verify("tiny", [str(photos)])
    card = (models / "tiny" / "README.md").read_text()
    assert metrics["steps"] == 6 and metrics["licence"] == "CC0" and f"{metrics['sha256']}" in card
    assert f"{metrics['sets'][photos.name]['psnr']:.2f}/" in card and "MATLAB bicubic LR" in card
    assert json.loads((models / "tiny" / "metrics.json").read_text()) == metrics
    assert "](image.png)" in card and read_image(models / "tiny" / "image.png").pixels.shape[2] == 3
    assert shelf.default_model(2) == "tiny" and Model.load("auto", 2).name == "tiny"
    with pytest.raises(SrkdError, match="no default model for x3"):
        shelf.default_model(3)


def test_a_name_given_twice_is_trained_once(models: Path) -> None:
    (result,) = zoo.train_all(["tiny", "tiny"], budget=0)
    assert not result["finished"]


def test_a_budget_that_ends_before_any_training_begins(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with --jobs, whose processes take seconds to start."""

    class Late(LocalExecutor):
        def map(self, *_: Any) -> Iterator[Any]:
            return iter(())

    monkeypatch.setattr(main, "executor_for", lambda args: nullcontext(Late()))
    assert main.main(["zoo", "train", "tiny", "--budget", "1s"]) == 0


def test_a_recipe_with_stages_resumes_and_counts_all_steps(models: Path, photos: Path) -> None:
    path = models / "tiny" / "recipe.yml"
    recipe = yaml.safe_load(path.read_text())
    recipe["stages"] = [{}, {"train": {"total_iter": 2}}]
    path.write_text(yaml.safe_dump(recipe))
    while not zoo.train("tiny", budget=0)["finished"]:
        assert not (models / "tiny" / "state.pt").exists()
    assert {record["stage"] for record in json.loads((models / "tiny" / "curve.json").read_text())} == {1, 2}
    assert zoo.verify("tiny", [str(photos)])["steps"] == 8


def test_weights_that_differ_from_the_metrics_raise(models: Path, photos: Path) -> None:
    zoo.train("tiny")
    zoo.verify("tiny", [str(photos)])
    path = models / "tiny" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(SrkdError, match="sha256 differs"):
        Model.load("tiny")


def test_a_retrained_model_is_measured_again(
    models: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo.train("tiny")
    first = zoo.verify("tiny", [str(photos)])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    zoo.train("tiny", ["manual_seed=5"])
    assert zoo.verify("tiny", [str(photos)])["sha256"] != first["sha256"]


def test_a_slice_with_another_recipe_raises(models: Path) -> None:
    zoo.train("tiny", budget=0)
    with pytest.raises(SrkdError, match=r"recipe\.train changed"):
        zoo.train("tiny", ["train.optim_g.lr=1e-5"])


def test_an_unknown_name_names_the_nearest(models: Path) -> None:
    with pytest.raises(SrkdError, match=r'unknown zoo model "tinny" \(did you mean "tiny"'):
        zoo.train("tinny")


def test_the_listing_has_no_psnr_to_a_teachers_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stand below PSNR to the ground truth."""
    scores = {"sets": {"Set5": {"psnr": 37.5}, "B100": {"psnr": 31.5}}, "parameters": 10}
    monkeypatch.setattr(shelf, "names", lambda: ["faithful", "student"])
    monkeypatch.setattr(shelf, "trained", lambda: ["faithful", "student"])
    monkeypatch.setattr(shelf, "external", list)
    monkeypatch.setattr(shelf, "metrics", lambda name: {**scores, **({"imitates": "t"} if name == "student" else {})})
    monkeypatch.setattr(zoo, "read", lambda path: {"scale": 2})
    assert [(row["Set5"], row["B100"]) for row in zoo.listing()] == [("37.50", "31.50"), ("-", "-")]
