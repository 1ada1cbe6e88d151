"""The zoo's files: valid recipes, the facts of model cards, weights that match their cards."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srkd import resources
from srkd.data import manifests
from srkd.errors import SrkdError
from srkd.files.digest import file_sha256
from srkd.imitation.photograph import sample
from srkd.imitation.source import shrunk
from srkd.inference.loading import load_model
from srkd.metrics.evaluation import BICUBIC, evaluate, open_model
from srkd.metrics.psnr import psnr
from srkd.networks import zoo
from srkd.training import task as tasks
from srkd.training.recipe import read, validate


@pytest.mark.parametrize("name", zoo.names())
def test_recipe_and_facts(name: str) -> None:
    data = read(zoo.folder(name) / "recipe.yml")
    recipe, ignored = validate(tasks.find(data.get("task", "sr")).recipe_type, data)
    assert recipe.name == name and not ignored
    about = read(zoo.folder(name) / "about.yml")
    assert set(about) - {"metrics", "compared"} == {"default", "licence", "notes"}


@pytest.mark.parametrize("name", zoo.trained())
def test_trained_models_load_with_their_metadata(name: str) -> None:
    loaded = load_model(name)
    assert loaded.scale == loaded.meta["scale"] and loaded.meta["parameters"] == sum(
        p.numel() for p in loaded.network.parameters()
    )
    assert (zoo.folder(name) / "README.md").is_file()


@pytest.mark.parametrize("name", zoo.trained())
def test_weights_match_their_card(name: str) -> None:
    assert file_sha256(zoo.weights(name)[0]) == zoo.metrics(name)["sha256"]


@pytest.mark.parametrize("name", [name for name in zoo.trained() if "imitates" not in zoo.metrics(name)])
def test_weights_give_the_stated_psnr(name: str, data: Path) -> None:
    """On Set5 only, about five seconds of one core for EDSR-baseline and less than one for the others."""
    (measured,) = evaluate([name], [str(data / "sr" / "eval" / "Set5")])["models"]
    stated, found = zoo.metrics(name)["sets"]["Set5"], measured["sets"]["Set5"]
    assert found["psnr"] == pytest.approx(stated["psnr"], abs=0.002)
    assert found["ssim"] == pytest.approx(stated["ssim"], abs=0.0002)
    assert found["protocol"]["stamp"] == stated["protocol"]


@pytest.fixture(scope="module")
def photograph() -> Callable[[str, int], tuple[np.ndarray, np.ndarray]]:
    """A detail of the cards' photograph, and a teacher's output for it at a student's scale."""

    @cache
    def of(teacher: str, scale: int) -> tuple[np.ndarray, np.ndarray]:
        detail = np.ascontiguousarray(sample()[50:98, 90:138])
        try:
            loaded = load_model(teacher)
        except SrkdError as error:
            pytest.skip(str(error))
        return detail, shrunk(loaded.upscale(detail), loaded.scale // scale).astype(float)

    return of


@pytest.mark.parametrize("name", [name for name in zoo.trained() if zoo.metrics(name).get("compared")])
def test_students_draw_more_like_their_teacher_than_their_controls(
    name: str, photograph: Callable[[str, int], tuple[np.ndarray, np.ndarray]]
) -> None:
    known = zoo.metrics(name)
    detail, taught = photograph(known["imitates"], known["scale"])
    control = next(other for other in known["compared"] if other.endswith("_control"))
    ours, other, bicubic = (
        psnr(open_model(each, known["scale"]).upscale(detail).astype(float), taught)
        for each in (name, control, BICUBIC)
    )
    assert ours > max(other, bicubic) + 0.1


def validation_sets(recipe: Any) -> list[str]:
    """The `dataroot_gt` of every validation set anywhere in a recipe, its stages and a study's base."""
    if isinstance(recipe, list):
        return [root for item in recipe for root in validation_sets(item)]
    if not isinstance(recipe, dict):
        return []
    own = recipe.get("datasets") if isinstance(recipe.get("datasets"), dict) else {}
    roots = [str(spec.get("dataroot_gt")) for key, spec in own.items() if key.startswith("val") and spec]
    return roots + [root for key, item in recipe.items() for root in validation_sets(item)]


def test_no_study_validates_on_a_test_set() -> None:
    """Set5, Set14 and B100 are for reporting only, not for model selection."""
    paths = sorted((resources.folder("models") / "studies").rglob("*.yml"))
    found = [(path, root) for path in paths for root in validation_sets(read(path))]
    assert any(root == "BSDS500/validation" for _, root in found)
    for path, root in found:
        if root.partition("/")[0] in manifests.names():
            known, parts = manifests.find(root)
            assert {known.parts[part].role for part in parts} == {"validation"}, path


def test_the_zoo_stays_small() -> None:
    total = sum(path.stat().st_size for name in zoo.names() for path in zoo.folder(name).iterdir())
    assert total < 40e6
