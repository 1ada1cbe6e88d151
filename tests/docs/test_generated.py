from __future__ import annotations

import html
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from PIL import Image

from srkd import losses
from srkd.cli import main
from srkd.docs import degradations, recipes, site
from srkd.docs.markdown import cell, code, prose, table
from srkd.docs.zoo import Content
from srkd.metrics import registry
from srkd.metrics.scores import Protocol
from srkd.networks import zoo

markdown = pytest.importorskip("markdown", reason="MkDocs brings it: pip install 'srkd[docs]'")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages() -> dict[str, Content]:
    return site.pages()


def text(pages: dict[str, Content], path: str) -> str:
    page = pages[path]
    assert isinstance(page, str)
    return page


def printable_path(source: str) -> str:
    """The displayed text of Markdown, as one line."""
    page = markdown.markdown(source, extensions=["tables", "attr_list", "fenced_code"])
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())


@pytest.mark.parametrize(
    "words",
    [
        "mean |s - t| (norm l1), a*b*c, w_i x_j_k, [1](2), <b>, # no, &amp; A^T \\alpha {x: 1}",
        "- not a list\n- at all\n\n1. nor this\n+ nor this",
        *(losses.describe(name) for name in ("at", "kd", "iekd", "PerceptualLoss")),
    ],
)
def test_prose_displays_text_unchanged(words: str) -> None:
    expected = " ".join(words.replace("`", "").split())
    assert printable_path(prose(words)) == expected
    assert printable_path(table(["a", "b"], [[cell(words), code("x|y")]])) == f"a b {expected} x|y"


def test_the_same_tree_gives_the_same_pages(pages: dict[str, Content]) -> None:
    assert site.pages() == pages


def test_every_loss_is_in_the_catalogue_with_its_options(pages: dict[str, Content]) -> None:
    page = text(pages, "reference/losses.md")
    read = printable_path(page)
    for name in losses.names():
        assert f"### `{name}` {{: #loss-{name.lower()} }}" in page and f"(#loss-{name.lower()})" in page
        call = next(line for line in page.splitlines() if line.startswith(f"`{name}("))
        assert all(option in call for option in losses.options(name))
        assert " ".join(losses.describe(name).replace("`", "").split()) in read


def test_every_metric_is_listed_with_its_stamp_and_needs(pages: dict[str, Content]) -> None:
    page = text(pages, "reference/metrics.md")
    read = printable_path(page)
    for name in registry.names():
        metric = registry.get(name)
        direction = "lower" if metric.lower else "higher"
        assert f"| `{name}` | {metric.title} | {direction} | " in page and f"### `{name}`" in page
        assert metric.stamp in read and metric.needs.replace("`", "") in read
    assert Protocol.default(2).stamp(["psnr", "efficientnet"]) in read


@pytest.mark.parametrize("task", sorted(recipes.tasks_by_name()))
def test_every_key_of_a_recipe_is_listed_with_its_meaning(pages: dict[str, Content], task: str) -> None:
    page = text(pages, f"reference/recipes/{task}.md")
    for where, model in recipes.sections(recipes.tasks_by_name()[task].recipe_type):
        part = page.partition(f"## {code(where)}\n" if where else "## Top\n")[2].partition("\n## ")[0]
        for key, field in model.model_fields.items():
            assert f"\n| `{key}` |" in part and recipes.meaning(field), f"{where}.{key}"


def test_the_reference_has_the_constraints_of_pydantic(pages: dict[str, Content]) -> None:
    page = text(pages, "reference/recipes/sr.md")
    assert "| `ema_decay` | number ≥ 0, < 1 | `0.0` |" in page
    assert "| `kind` | `auto` or `live` or `outputs` or `bank` | `auto` |" in page
    assert "| `dataroot_gt` | string or list of string | required |" in page
    assert "## `val.metrics.<name>`" in page and "## `datasets.<val... or test...>`" in page
    assert "Also accepted: `use_flip` for `use_hflip`." in page and "`model_type`" in page
    schema = json.loads(text(pages, "reference/recipes/sr.schema.json"))
    assert schema["required"] == ["name", "train", "scale", "network_g", "datasets"]


def test_commands_and_exit_codes(pages: dict[str, Content]) -> None:
    page = text(pages, "reference/commands.md")
    assert [f"## {name}\n" in page for name in main.commands()] == [True] * len(main.commands())
    assert "--auto_resume" in page and "### zoo train" in page and "--budget TIME" in page
    assert printable_path(text(pages, "reference/exit-codes.md")).count("SIGTERM") == 1


def test_the_zoo_shows_the_measurements(pages: dict[str, Content]) -> None:
    for name in (name for name in zoo.trained() if zoo.metrics(name)):
        metrics = zoo.metrics(name)
        (row,) = (line for line in text(pages, "zoo/index.md").splitlines() if line.startswith(f"| [{name}]"))
        assert f"{metrics['parameters']:,}" in row
        assert all(f"{scores['psnr']:.2f}/{scores['ssim']:.4f}" in row for scores in metrics["sets"].values())
        assert metrics["sha256"] in text(pages, f"zoo/{name}/index.md")


def test_a_studys_tables_are_those_of_its_json(pages: dict[str, Content]) -> None:
    found = json.loads((ROOT / "models" / "studies" / "srgan_mutual" / "results.json").read_text(encoding="utf-8"))
    page = text(pages, "studies/srgan_mutual/results.md")
    for table_ in found["scores"]:
        assert all(f"{row['mean']:.4f}" in page for row in table_["rows"])
    assert "(results.md)" in text(pages, "studies/srgan_mutual/index.md")
    assert isinstance(pages["studies/srgan_mutual/contact_sheet.png"], bytes)
    assert "(../verdicts_changed.md)" in text(pages, "studies/srgan_mutual/index.md")
    assert "3 seeds: no verdict" in text(pages, "studies/verdicts_changed.md")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the documentation is built with mkdocs: pip install 'srkd[docs]'")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-3000:]
    return out


def test_the_site_is_built_without_warnings_and_loads_nothing_from_elsewhere(built: Path) -> None:
    for page in built.rglob("*.html"):
        source = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|source|iframe)[^>]* src="([^"]*)"|<link[^>]* href="([^"]*)"', source)
        assert not [address for pair in loaded for address in pair if "//" in address], page


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium to open the pages in: apt-get install chromium")
def test_the_site_from_a_folder_in_a_browser(built: Path, tmp_path: Path) -> None:
    browser = Browser(tmp_path / "profile")
    try:
        for page in ("index", "tutorial", "reference/recipes/sr", "reference/losses", "zoo/index"):
            for width in (1280, 390):
                browser.open(built / f"{page}.html", width)
                over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                assert browser.run(over) == 0, f"{page} at {width}"
        assert not browser.complaints
        assert not [address for address in browser.requests if not address.startswith(("file:", "data:"))]
    finally:
        browser.close()


def test_the_degradations_are_shown_with_the_codes_own_numbers(pages: dict[str, Content]) -> None:
    page = text(pages, "reference/degradations.md")
    assert "| `jpeg_range` | 30 to 95 | 30 to 95 | 60 to 98 |" in page
    assert "| `resize_prob` | 0.2, 0.7, 0.1 | 0.3, 0.4, 0.3 | 0, 0, 1 |" in page
    image = Image.open(io.BytesIO(degradations.sheet()))
    assert image.size == (9 * (2 * 64 + 4), 3 * (2 * 64 + 4))
