"""The written pages are tested: files are written, recipes and studies checked, commands parsed, Python code run."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from srkd import losses
from srkd.cli.main import commands
from srkd.files.digest import file_sha256
from srkd.images.read import read_rgb
from srkd.losses import registry
from srkd.networks import zoo
from srkd.studies import plan
from srkd.training import recipe as recipes
from srkd.training.run import Run

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


class Block(NamedTuple):
    """A block of code, and the text before it."""

    words: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [Block(*found) for found in re.findall(r"([^\n]*(?:\n[^\n]+)*)\n\n```(\w+)\n(.*?)```", text, re.DOTALL)]


def of_language(page: str, language: str) -> list[str]:
    return [block.text for block in blocks(page) if block.language == language]


@pytest.mark.parametrize("page", [str(path.relative_to(DOCS)) for path in PAGES])
def test_every_command_line_is_valid(page: str) -> None:
    inline = re.findall(r"`(srkd [a-z][^`]*)`", (DOCS / page).read_text(encoding="utf-8"))
    lines = "\n".join(of_language(page, "sh")).replace("\\\n", " ").splitlines()
    for line in [*lines, *inline]:
        words = shlex.split(re.sub(r"^\w+=\S+ ", "", line), comments=True)
        if words[:1] != ["srkd"] or words[1].startswith("-"):
            continue
        assert words[1] in commands(), line
        if line in inline and not any(word.startswith("-") for word in words):
            continue  # a mention of the command, without its arguments
        parser = argparse.ArgumentParser()
        importlib.import_module(f"srkd.cli.{words[1]}").add_arguments(parser)
        parser.parse_args(words[2:])


def test_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photographs, use = of_language("tutorial.md", "python")
    exec(photographs, {})
    assert {path.parent.name for path in tmp_path.glob("*/*")} == {"training", "held_out"}
    written = {
        re.findall(r"`(\w+\.yml)`", block.words)[-1]: block.text
        for block in blocks("tutorial.md")
        if block.language == "yaml"
    }
    assert list(written) == ["alone.yml", "distilled.yml", "study.yml"]
    for name, text in written.items():
        Path(name).write_text(text, encoding="utf-8")
    for name in ("alone.yml", "distilled.yml"):
        data = yaml.safe_load(written[name])
        data["train"] |= {"total_iter": 2}
        Run(data, quiet=True).train()
    assert [variant.name for variant in plan.read("study.yml").variants] == ["control", "output", "at"]
    found: dict[str, Any] = {}
    exec(use, found)
    assert found["large"].shape == (*(2 * np.array(read_rgb(Path("held_out/chelsea.png")).shape[:2])), 3)


def test_the_tutorials_figures_are_of_todays_model() -> None:
    """After new weights: follow the tutorial again and write its figures into docs/measured/tutorial.json."""
    measured = json.loads((DOCS / "measured" / "tutorial.json").read_text(encoding="utf-8"))
    weights = zoo.weights("edsr_16x8_x2_cc0")[0]
    assert file_sha256(weights).startswith(measured["weights of edsr_16x8_x2_cc0"])


def test_compressing_and_comparing(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (recipe,) = of_language("how-to/compress.md", "yaml")
    Path("training").symlink_to(photos)
    Path("held_out").symlink_to(photos)
    shutil.copy(zoo.weights("edsr_16x8_x2_cc0")[0], "teacher.safetensors")
    Path("recipe.yml").write_text(recipe, encoding="utf-8")
    Run(recipes.override(recipes.read("recipe.yml"), ["datasets.train.gt_size=32"]), quiet=True).dry_run()
    (study,) = of_language("how-to/compare.md", "yaml")
    Path("study.yml").write_text(study, encoding="utf-8")
    assert [variant.name for variant in plan.read("study.yml").variants] == ["control", "output", "rkd", "faded"]


def test_choosing_teachers(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").symlink_to(photos)
    single, several, upcycled = (yaml.safe_load(text) for text in of_language("how-to/teachers.md", "yaml"))
    for data in (several, upcycled):
        data["datasets"]["train"]["gt_size"] = 16
    for data in (several, {**several, **single}, {**several, **upcycled}):
        (task,) = Run(data, quiet=True).dry_run()
        assert task.teachers.members[-1].self_ensemble


def test_the_loss_that_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    losses.names()
    monkeypatch.setattr(registry._LOSSES, "_classes", dict(registry._LOSSES._classes))
    (source,) = of_language("how-to/add-a-loss.md", "python")
    exec(compile(source, "gram.py", "exec"), {"__name__": "srkd.losses.gram"})
    example = losses.get("gram").example(0)
    loss = losses.build("gram")
    loss.prepare(example.student, example.teacher)
    gram = [
        np.einsum("ncp,ndp->ncd", *[maps.flatten(2).double().numpy()] * 2) / 36
        for maps in (example.student, example.teacher)
    ]
    assert float(loss(example.student, example.teacher)) == pytest.approx(float(((gram[0] - gram[1]) ** 2).mean()))


def test_another_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, adapter = of_language("how-to/another-domain.md", "python")
    exec(loop, found := dict[str, Any]())
    assert found["loss"].isfinite()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("sines.py").write_text(adapter, encoding="utf-8")
    scores = []
    for recipe in of_language("how-to/another-domain.md", "yaml"):
        data = {**yaml.safe_load(recipe), "logger": {"use_tb_logger": False}}
        scores.append(Run(data, quiet=True).train()["metrics"]["accuracy"])
    sys.modules.pop("sines")
    assert scores[0] > 95 and scores[1] > 80


def test_every_environment_variable_is_explained() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (DOCS.parent / "srkd").rglob("*.py")]
    used = {name for source in sources for name in re.findall(r"\bSRKD_[A-Z0-9_]+\b", source)}
    page = (DOCS / "environment.md").read_text(encoding="utf-8")
    assert {"SRKD_DATA", "SRKD_CACHE"} <= used <= set(re.findall(r"SRKD_[A-Z0-9_]+", page))
