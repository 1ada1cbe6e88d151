from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import Any

import cv2
import numpy as np
import pytest

from srkd.errors import SrkdError
from srkd.report import html, plots
from srkd.report.html import PageSection

HOSTILE = """"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\udcff\x00"""
VOID = {"meta", "img", "input", "br", "link", "path", "use"}


def png(value: int = 0, height: int = 6, width: int = 8) -> str:
    return base64.b64encode(bytes(cv2.imencode(".png", np.full((height, width, 3), value, np.uint8))[1])).decode()


def report(name: str = "student") -> str:
    """Every part a section may have, with `name` wherever text goes."""
    rows = [
        {name: f"{name} {n}", "PSNR (dB)": score, "parameters": n, "protocol": f"Y {name}"}
        for n, score in enumerate(["9.5", "10.25", None])
    ]
    plot = plots.curves(
        [{"label": name, "x": [0, 1], "y": [1, 2]}, {"label": "b", "x": [0, 1], "y": [2, 1]}], name, name
    )
    labels = [f"bicubic {name}", f"HR {name}"]
    sections: list[PageSection] = [
        {"heading": name, "paragraphs": [name], "facts": [{"value": name, "label": name}]},
        {"heading": "scores", "table": {"rows": rows, "columns": [name, "PSNR (dB)", "parameters"], "caption": name}},
        {"plot": {**plot, "caption": name}},
        {
            "heading": "details",
            "crops": {
                "items": [{"label": label, "note": name, "png": png(200 * n)} for n, label in enumerate(labels)],
                "left": labels[0],
                "right": labels[1],
                "caption": name,
            },
            "recipe": name,
        },
    ]
    return html.page(name, sections, lead=name, footer=name)


class Outline(HTMLParser):
    """The elements of a page, and a failure where tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words += data


def test_all_input_is_escaped() -> None:
    kind, hostile = Outline(report()), Outline(report(HOSTILE))
    drawn = {"svg", "g", "path", "defs", "use", "clippath", "rect", "text"}  # a plot lays itself out by its words
    assert [tag for tag, _ in hostile.found if tag not in drawn] == [tag for tag, _ in kind.found if tag not in drawn]
    assert not [a for _, attributes in hostile.found for a in attributes if a.startswith("on")]
    shown = HOSTILE.replace("\udcff", "\\xff").replace("\x00", "\ufffd")
    assert hostile.words.count(shown) >= 12, "the text is there as it was given, and what is not UTF-8 is visible"


def test_the_page_is_self_contained() -> None:
    outline = Outline(report())
    links = [
        v or "" for _, attributes in outline.found for k, v in attributes.items() if k.split(":")[-1] in ("src", "href")
    ]
    assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert "link" not in {tag for tag, _ in outline.found}
    assert not re.search(r"@import|url\((?!#)", report())
    policy = next(a["content"] for tag, a in outline.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")


def test_ids_are_unique_and_contents_lead_somewhere() -> None:
    outline = Outline(report())
    ids = [a["id"] for _, a in outline.found if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"] for tag, a in outline.found if tag == "a"} == {"#s1", "#s2", "#s4"}


def test_a_long_table_scrolls_by_itself() -> None:
    def page(rows: int) -> str:
        return html.page("t", [{"table": {"rows": [{"image": str(n)} for n in range(rows)], "columns": ["image"]}}])

    assert "scroll tall" in page(100) and "scroll tall" not in page(10)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"paragrahps": []}, 'unknown part of a section "paragrahps" (did you mean "paragraphs"?)'),
        ({"table": {"rows": [{"a": 1, "protocol": "Y"}, {"a": 2, "protocol": "RGB"}], "columns": ["a"]}}, "protocols"),
        ({"crops": {"items": [{"label": "a", "png": "<script>"}]}}, 'the crop "a" is not a PNG in base64'),
        ({"crops": {"items": [{"label": "a", "png": "QUJD"}]}}, 'the crop "a" is not a PNG in base64'),
        ({"crops": {"items": [{"label": "a", "png": png()}, {"label": "b", "png": png(width=9)}]}}, "a 8x6, b 9x6"),
        ({"crops": {"items": [{"label": "a", "png": png()}] * 2}}, "and different labels"),
        ({"crops": {"items": [{"label": "teacher", "png": png()}], "left": "teecher"}}, 'did you mean "teacher"'),
    ],
)
def test_invalid_sections_raise(section: Any, message: str) -> None:
    with pytest.raises(SrkdError, match=re.escape(message)):
        html.page("t", [section])


def test_without_matplotlib_the_page_names_the_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots.importlib.util, "find_spec", lambda name: None)
    plot = plots.curves([{"label": "a", "x": [0, 1], "y": [1, 2]}], "step", "loss")
    page = html.page("t", [{"heading": "Losses", "plot": plot}])
    assert "loss over step: plots need matplotlib" in page and "<svg" not in page


def test_infinite_scores_sort_first_and_invalid_ones_last() -> None:
    """JavaScript reads "Infinity" as a number, not "inf"; NaN would leave a column unsorted."""
    scores = [37.2, float("inf"), float("nan"), "inf", "-"]
    page = html.page("t", [{"table": {"rows": [{"PSNR": score} for score in scores], "columns": ["PSNR"]}}])
    cells = [dict(attributes) for tag, attributes in Outline(page).found if attributes.get("scope") == "row"]
    assert [cell.get("data-sort") for cell in cells] == ["37.2", "Infinity", None, "Infinity", None]
