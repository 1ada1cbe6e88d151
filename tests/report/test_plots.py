from __future__ import annotations

import importlib
import math
import random
import re
import sys
from xml.etree import ElementTree

import pytest

from srkd.errors import SrkdError
from srkd.report import plots

HOSTILE = '_a $x_1$ <script>alert("1")</script> & co'
CURVES = plots.curves(
    [
        {"label": HOSTILE, "x": [0, 1, 2, 3], "y": [1.0, math.nan, 0.4, 0.3]},
        {"label": "other", "x": [0, 3], "y": [1, 2]},
    ],
    x="step",
    y="loss",
    log=True,
)
PARETO = plots.pareto(
    [{"label": "bicubic", "x": 1, "y": 33.66}, {"label": "student", "x": 118, "y": 37.25}], "ms", "dB"
)


def texts(svg: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]


@pytest.mark.parametrize("plot", [CURVES, PARETO], ids=["curves", "pareto"])
def test_svg_keeps_text_and_is_deterministic(plot: dict[str, object]) -> None:
    svg = plots.draw(plot)
    assert svg == plots.draw(plot)
    assert {str(plot["x"]), str(plot["y"])} <= set(texts(svg.decode()))


def test_a_label_is_only_ever_text() -> None:
    found = "".join(texts(plots.themed(CURVES)))  # a long label is broken into lines
    assert HOSTILE.replace(" ", "") in found.replace(" ", ""), "a label that matplotlib hides or sets as mathematics"
    assert "<script" not in plots.themed(CURVES)


@pytest.mark.parametrize(("low", "high"), [(0.024, 0.027), (0.02, 0.05), (0.024, 0.26), (0.001, 1.0), (1e-6, 1e3)])
def test_log_ticks_are_plain_numbers_and_neither_few_nor_many(low: float, high: float) -> None:
    plot = plots.curves([{"label": "", "x": [5000, 6000], "y": [low, high]}], "step", "loss", log=True)
    ticks = [t for t in texts(plots.draw(plot).decode()) if re.fullmatch(r"[\d.]+(e-\d+)?", t)]
    inside = [t for t in ticks if low <= float(t) <= high]
    assert 3 <= len(inside) <= 12, inside


@pytest.mark.parametrize(
    ("values", "dots"), [([1.0], 1), ([1.0, math.nan, 2.0, 3.0], 1), ([1.0, math.inf, 2.0], 2), ([1.0, 2.0], 0)]
)
def test_a_value_alone_is_a_dot(values: list[float], dots: int) -> None:
    plot = plots.curves([{"label": "", "x": list(range(len(values))), "y": values}], "step", "loss")
    uses = [e for e in ElementTree.fromstring(plots.draw(plot)).iter() if e.tag.endswith("use")]
    assert sum(plots.COLOURS[0] in use.get("style", "") for use in uses) == dots


def test_png() -> None:
    data = plots.draw(PARETO, "png")
    assert data.startswith(b"\x89PNG") and int.from_bytes(data[16:20], "big") == 7.2 * 200
    assert int.from_bytes(plots.draw(PARETO, "png", narrow=True)[16:20], "big") == 4 * 200


def test_themed_takes_its_colours_and_letters_from_the_page() -> None:
    svg = plots.themed(CURVES)
    assert not re.search(r"#[0-9a-f]{6}\b", svg), "a colour that would not change with the page"
    assert "var(--series-1)" in svg and "var(--series-2)" in svg and "DejaVu" not in svg
    assert "<style" not in svg and 'width="' not in svg.split(">")[0]
    ids = re.findall(r' id="([^"]+)"', svg)
    assert all(f"#{name}" in svg for name in ids) and len(ids) == len(set(ids))


def test_ten_series_are_distinguishable() -> None:
    many = plots.curves([{"label": str(n), "x": [0, 1], "y": [n, n]} for n in range(10)], "x", "y")
    figure = plots._figure(many, narrow=False)
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == 10
    points = plots.pareto([{"label": str(n), "x": n + 1, "y": n} for n in range(10)], "x", "y")
    marks = [line for line in plots._figure(points, narrow=False).axes[0].lines if line.get_marker() != "None"]
    assert len({(mark.get_color(), mark.get_marker()) for mark in marks}) == 10


def test_front_has_the_non_dominated_points() -> None:
    rng = random.Random(0)
    for _ in range(50):
        points = [(float(rng.randrange(6)), float(rng.randrange(6))) for _ in range(rng.randrange(1, 12))]
        slow = {
            i for i, (x, y) in enumerate(points) if not any(u <= x and v >= y and (u, v) != (x, y) for u, v in points)
        }
        found = plots.front(points)
        assert set(found) == slow and [points[i][0] for i in found] == sorted(points[i][0] for i in found)


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        (plots.curves([], "step", "loss"), 'the plot of "loss" has no points'),
        (plots.curves([{"label": "a", "x": [], "y": []}], "step", "loss"), "no points"),
        (plots.pareto([], "ms", "dB"), "no points"),
        (plots.curves([{"label": "a", "x": [0], "y": [-1.0]}], "step", "loss", log=True), "needs a value above 0"),
        ({"kind": "parreto", "x": "", "y": ""}, 'did you mean "pareto"'),
    ],
)
def test_invalid_plots_raise(plot: dict[str, object], message: str) -> None:
    with pytest.raises(SrkdError, match=re.escape(message)):
        plots.draw(plot)


def test_without_matplotlib_the_error_has_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SrkdError, match=r"pip install 'srkd\[report\]'"):
        importlib.reload(plots).draw(PARETO)
