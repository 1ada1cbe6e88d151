"""The page in a real Chromium, at the widths of a desk and a telephone, used by keyboard alone."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, Browser

from srkd.report import html, plots
from srkd.studies import results

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium to open the page in: apt-get install chromium")
SIZES = [(1280, 900), (390, 844)]


def _png(value: int) -> str:
    return base64.b64encode(bytes(cv2.imencode(".png", np.full((48, 64, 3), value, np.uint8))[1])).decode()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of every part, with long names and a long table."""
    rows = [
        {
            "image": f"an_image_with_a_long_name_{n:02}",
            "set": "Set14",
            "model": "edsr_16x8_x2_cc0",
            "PSNR (dB)": None if n == 7 else 30 + n * 7 % 40 / 10,
            "SSIM": 0.9 + n / 1000,
            "protocol": "x2, Y",
        }
        for n in range(40)
    ]
    lines = [{"label": f"edsr_16x8_x2_cc0 torch fp32 128x12{n}", "x": [1, 2, 3], "y": [3, 2, 1 + n]} for n in range(14)]
    items = [{"label": label, "note": "30 dB", "png": _png(60 * n)} for n, label in enumerate(["HR", "bicubic", "new"])]
    path = tmp_path_factory.mktemp("page") / "report.html"
    columns = ["image", "set", "model", "PSNR (dB)", "SSIM"]
    sections: list[html.PageSection] = [
        {"heading": "Scores", "facts": [{"value": "37.2", "label": "PSNR (dB)"}], "paragraphs": ["Words."]},
        {"heading": "Every image", "table": {"rows": rows, "columns": columns}},
        {"heading": "Losses", "plot": plots.curves(lines, "step", "loss", log=True)},
        {"heading": "Details", "crops": {"items": items, "left": "bicubic", "right": "new"}},
        {"heading": "Recipe", "recipe": "name: x\n" * 60},
    ]
    path.write_text(html.page("A report", sections, "A sentence.", "srkd"), encoding="utf-8")
    return path


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fits_asks_for_nothing_and_complains_of_nothing(
    browser: Browser, page: Path, width: int, height: int
) -> None:
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(page, width, height)
    browser.settle()
    assert browser.run("innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert not browser.complaints
    assert {address for address in browser.requests if not address.startswith("data:")} == {page.as_uri()}
    shown = "[...document.querySelectorAll('.plot > div')].map(div => div.checkVisibility())"
    assert browser.run(shown) == ([True, False] if width > 640 else [False, True])
    # Chromium lets Tab reach whatever scrolls; other browsers only what says so.
    assert browser.run("[...document.querySelectorAll('.scroll, .viewport, pre')].every(box => box.tabIndex === 0)")
    # A column of words is never squeezed to single letters, and no plot's words run out of the plot.
    assert browser.run("Math.min(...[...document.querySelectorAll('td, thead th')].map(cell => cell.clientWidth))") > 40
    over = """[...document.querySelectorAll('.plot svg')].filter(svg => svg.checkVisibility()).flatMap(svg =>
        [...svg.querySelectorAll('text')].filter(text => {
            const [a, b] = [text.getBoundingClientRect(), svg.getBoundingClientRect()];
            return a.right > b.right + 2 || a.left < b.left - 2 || a.bottom > b.bottom + 2 || a.top < b.top - 2; })
        .map(text => text.textContent))"""
    assert browser.run(over) == []


def _tab_to(browser: Browser, selector: str) -> None:
    """Press Tab until the focus is on it, as a reader without a mouse must."""
    for _ in range(60):
        if browser.run(f"document.activeElement.matches({selector!r})"):
            return
        browser.press("Tab")
    raise AssertionError(f"no press of Tab leads to {selector}")


def test_the_verdict_of_a_study_is_in_sight(browser: Browser, tmp_path: Path) -> None:
    """A study's table, the widest of all, fits on a desk's screen: its last column is what the reader looks for."""
    columns = [column for column in results.COLUMNS if column != "note"]
    row: dict[str, object] = dict.fromkeys(columns, -0.3777) | {"seeds": 5, "mean": 27.9381}
    row |= {"variant": "similarity", "verdict": "no difference shown"}
    path = tmp_path / "report.html"
    table: html.PageSection = {"heading": "psnr", "table": {"rows": [row, row], "columns": columns}}
    path.write_text(html.page("A study", [table], "A sentence.", "srkd"), encoding="utf-8")
    browser.open(path, *SIZES[0])
    assert browser.run("(box => box.scrollWidth - box.clientWidth)(document.querySelector('.scroll'))") == 0


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_by_keyboard_it_sorts(browser: Browser, page: Path, width: int, height: int) -> None:
    browser.open(page, width, height)
    heading = "thead th:nth-child(4) button"
    _tab_to(browser, heading)
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is seen"
    scores = "[...document.querySelectorAll('tbody td:nth-child(4)')].map(cell => cell.textContent)"
    browser.press("Enter")
    first = browser.run(scores)
    browser.press(" ")
    second = browser.run(scores)
    assert browser.run(f"document.querySelector({heading!r}).parentElement.ariaSort") == "ascending"
    assert (first[0], first[-1]) == ("33.9", "-") and (second[0], second[-1]) == ("30.0", "-")
    browser.press("Shift+Tab", "Enter")
    assert browser.run("document.activeElement.parentElement.ariaSort") == "ascending", "and back to another column"


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_by_keyboard_it_compares(browser: Browser, page: Path, width: int, height: int) -> None:
    browser.open(page, width, height)
    cut = """(() => { const over = document.querySelector('.over-left'), view = document.querySelector('.viewport');
        return Math.round(100 * (parseFloat(over.style.clipPath.match(/ - ([\\d.]+)px/)[1]) - view.scrollLeft)
                          / view.clientWidth); })()"""
    _tab_to(browser, ".slide input")
    assert browser.run(cut) == 50
    browser.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert browser.run(cut) == 53
    _tab_to(browser, ".pick-left")
    browser.press("ArrowUp")
    assert browser.run("document.querySelector('.tag.left').textContent") == "HR"
    assert browser.run("document.querySelector('.over-left').src === document.querySelector('.strip img').src")
    _tab_to(browser, ".zoom")
    browser.press("ArrowDown", "ArrowDown")
    browser.settle()
    zoom = "document.querySelector('.canvas').clientWidth / document.querySelector('.viewport').clientWidth"
    assert browser.run(zoom) == pytest.approx(4, rel=0.02)
    scrolled = "document.querySelector('.viewport').scrollLeft"
    before = browser.run(scrolled)
    browser.press("Shift+Tab", "Shift+Tab", "Shift+Tab", "Shift+Tab")
    assert browser.run("document.activeElement.className") == "viewport"
    browser.press("ArrowRight")
    browser.settle(400)  # it glides
    assert browser.run(scrolled) > before
    assert browser.run(cut) == 53, "the divider stays where it was put"


def test_by_keyboard_it_unfolds_the_recipe_and_leads_to_sections(browser: Browser, page: Path) -> None:
    browser.open(page)
    _tab_to(browser, "nav li:nth-child(4) a")
    browser.press("Enter")
    assert browser.run("location.hash") == "#s4"
    _tab_to(browser, "summary")
    browser.press("Enter")
    assert browser.run("document.querySelector('details').open")
    browser.press("Tab")
    assert browser.run("document.activeElement.tagName") == "PRE", "a long recipe can be scrolled by keyboard"
    assert not browser.complaints
