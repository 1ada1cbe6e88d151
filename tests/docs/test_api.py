"""The API's pages: their examples run, every public name is in one, and every documented object exists."""

from __future__ import annotations

import doctest
import importlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import srkd
from srkd.compression.request import Request

API = Path(__file__).parents[2] / "docs" / "reference" / "api"
PAGES = sorted(path.stem for path in API.glob("*.md"))


def text(page: str) -> str:
    return (API / f"{page}.md").read_text(encoding="utf-8")


def code(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text(page), re.DOTALL)


def compressed(request: Request, out: Path) -> srkd.Compressed:
    """Instead of ten minutes of training: the teacher as its own student."""
    out.mkdir()
    shutil.copy(srkd.networks.zoo.weights(request.teacher)[0], out / "student.safetensors")
    return srkd.Compressed(out, {"rows": [], "missed": ""})


@pytest.mark.parametrize("page", PAGES)
def test_examples_give_what_they_show(page: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("srkd.compression.flow.compress", compressed)
    names: dict[str, Any] = {}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.FAIL_FAST)
    failures: list[str] = []
    for number, block in enumerate(code(page)):
        test = doctest.DocTestParser().get_doctest(block, names, f"{page}[{number}]", None, 0)
        assert test.examples, f"a block of {page}.md without an example"
        runner.run(test, out=failures.append, clear_globs=False)
        names = test.globs
    assert not failures, "".join(failures)


def test_every_public_name_is_in_an_example() -> None:
    examples = "\n".join(block for page in PAGES for block in code(page))
    used = set(re.findall(r"srkd\.(\w+)", examples)) | {
        name for names in re.findall(r"from srkd import ([\w, ]+)", examples) for name in names.split(", ")
    }
    assert set(srkd.__all__) <= used


def test_every_package_has_a_page() -> None:
    packages = {name for name in srkd.__all__ if hasattr(getattr(srkd, name), "__path__")}
    assert {*packages, "index"} == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_documented_object_exists(page: str) -> None:
    entries = re.findall(r"^::: ([\w.]+)\n(?:    options:\n(?:      .*\n)*)?", text(page), re.MULTILINE)
    members = dict(re.findall(r"^::: ([\w.]+)\n    options:\n      members: \[([\w, ]+)\]", text(page), re.MULTILINE))
    assert entries
    for name in entries:
        found = _object(name)
        assert found.__doc__, name
        for member in filter(None, members.get(name, "").split(", ")):
            assert getattr(found, member).__doc__, f"{name}.{member}"


def _object(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(_object(module), attribute)
