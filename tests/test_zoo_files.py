"""The zoo's own files: recipes that are valid, facts that cards need, weights that are those of their cards."""

import pytest

from srkd.engine.recipe import read, validate
from srkd.sr import zoo
from srkd.sr.models import load_network
from srkd.sr.recipe import SRRecipe


@pytest.mark.parametrize("name", zoo.names())
def test_recipe_and_facts(name: str) -> None:
    recipe, ignored = validate(SRRecipe, read(zoo.folder(name) / "recipe.yml"))
    assert recipe.name == name and not ignored
    about = read(zoo.folder(name) / "about.yml")
    assert set(about) == {"default", "licence", "notes"}


@pytest.mark.parametrize("name", zoo.trained())
def test_trained_models_load_and_say_what_they_are(name: str) -> None:
    loaded = load_network(name)
    assert loaded.scale == loaded.meta["scale"] and loaded.meta["parameters"] == sum(
        p.numel() for p in loaded.network.parameters()
    )
    assert (zoo.folder(name) / "README.md").is_file()


def test_the_zoo_stays_small() -> None:
    total = sum(path.stat().st_size for name in zoo.names() for path in zoo.folder(name).iterdir())
    assert total < 40e6
