"""Plots as SVG or PNG, drawn by matplotlib from plain dictionaries.

`curves` (losses, PSNR over steps) and `pareto` (quality against cost) return a dictionary that describes a plot; `draw`
renders it as SVG or PNG. The HTML report renders it with `themed`, which takes its colours from the page.
"""

from __future__ import annotations

import importlib.util
import io
import math
import re
import textwrap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from srkd.errors import SrkdError, unknown
from srkd.report.tables import printable

# Based on Okabe & Ito's palette, safe for colour-blind readers; the page has a lighter set for dark backgrounds.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#5b4fc4", "#444444")
_INK, _FAINT = "#1b1f24", "#c9ced6"
_MARKERS = "osD^vP*X"
_DASHES = ("-", "--", ":", "-.")
_WIDE, _NARROW = (7.2, 3.6), (4.0, 3.6)  # minimum size in inches; the font size is 10.5 points in both
_LINE = 0.21  # height of a legend entry in inches
MISSING = "plots need matplotlib, which is not installed: pip install 'srkd[report]'"
_STYLE: Any = {
    "svg.fonttype": "none",  # keep text as text: small, selectable, in the reader's font
    "svg.hashsalt": "srkd",  # deterministic output
    "text.parse_math": False,  # keep a `$` in names literally
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def curves(series: Sequence[Mapping[str, Any]], x: str, y: str, log: bool = False) -> dict[str, Any]:
    """Lines over a common axis, e.g. a loss per step.

    Args:
        series: the lines, {"label", "x": [...], "y": [...]} each; non-finite values leave a gap.
        x, y: axis labels with units.
        log: logarithmic y axis.
    """
    return {"kind": "curves", "series": list(series), "x": x, "y": y, "log": log}


def pareto(points: Sequence[Mapping[str, Any]], x: str, y: str, log: bool = True) -> dict[str, Any]:
    """Quality (y, more is better) against cost (x, less is better), with the Pareto front.

    Args:
        points: {"label", "x", "y"} each; those of one label share a mark.
        log: logarithmic x axis.
    """
    return {"kind": "pareto", "points": list(points), "x": x, "y": y, "log": log}


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the non-dominated (cost, quality) points, sorted by cost."""
    best, kept = -math.inf, list[int]()
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        cost, quality = points[index]
        if quality > best or (kept and points[kept[-1]] == (cost, quality)):
            best, kept = quality, [*kept, index]
    return kept


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(plot: Mapping[str, Any], format: str = "svg", narrow: bool = False) -> bytes:
    """Render a plot from `curves` or `pareto` as "svg" or "png" (200 dpi).

    Args:
        narrow: 4 inches wide, for a phone or a column of a paper, instead of 7.2.

    Raises:
        SrkdError: matplotlib is not installed, or there is nothing to draw.
    """
    figure, buffer = _figure(plot, narrow), io.BytesIO()
    with _style():
        figure.savefig(buffer, format=format, dpi=200, metadata={"Date": None} if format == "svg" else None)
    return buffer.getvalue()


def themed(plot: Mapping[str, Any], narrow: bool = False) -> str:
    """The plot as an <svg> element for a page that defines --ink, --faint, --paper and --series-1 to --series-8.

    Only referenced ids are kept, with a unique prefix, and no width is set, so that several plots fit into one page of
    any width.
    """
    svg = draw(plot, narrow=narrow).decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)  # the style would apply to the whole page
    prefix = f"g{zlib.crc32(svg.encode()):08x}-"
    used = set(re.findall(r'(?:url\(|href=")#(\w+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", svg)
    colours = {_INK: "ink", _FAINT: "faint", "#ffffff": "paper"}
    colours |= {colour: f"series-{number}" for number, colour in enumerate(COLOURS, 1)}
    for colour, name in colours.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.strip()


def _figure(plot: Mapping[str, Any], narrow: bool) -> Any:
    drawers = {"curves": _draw_curves, "pareto": _draw_pareto}
    if plot.get("kind") not in drawers:
        raise unknown("kind of plot", str(plot.get("kind")), drawers)
    with _style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        labels = [textwrap.fill(printable(item["label"]), 20 if narrow else 26) for item in _items(plot)]
        columns = 2 if narrow and max(map(len, labels), default=0) <= 12 else 1
        figure = Figure(figsize=_size(labels, columns, narrow))
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set(xlabel=printable(plot["x"]), ylabel=printable(plot["y"]))
        marks = drawers[plot["kind"]](axes, plot)
        if len(marks) > 1:
            # Outside the axes, because labels next to the close points of a student and its control would overlap; with
            # handles, because matplotlib omits labels that start with "_".
            figure.legend(marks, labels, loc="outside lower left" if narrow else "outside right upper", ncols=columns)
    return figure


def _items(plot: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The series to draw, or of points the first with each label: what the legend lists."""
    if plot["kind"] == "pareto":
        first: dict[str, Mapping[str, Any]] = {}
        for point in plot["points"]:
            first.setdefault(point["label"], point)
        return list(first.values())
    return [s for s in plot["series"] if len(s["x"])]


def _size(labels: Sequence[str], columns: int, narrow: bool) -> tuple[float, float]:
    """Size in inches, high enough for the legend."""
    if len(labels) < 2:
        return _NARROW if narrow else _WIDE
    tallest = max(label.count("\n") + 1 for label in labels)
    legend = _LINE * (
        sum(label.count("\n") + 1 for label in labels) if columns == 1 else tallest * -(-len(labels) // 2)
    )
    return (_NARROW[0], _NARROW[1] - 0.6 + legend) if narrow else (_WIDE[0], max(_WIDE[1], legend + 0.3))


def _draw_curves(axes: Any, plot: Mapping[str, Any]) -> list[Any]:
    series = _items(plot)
    if not series:
        raise SrkdError(f'the plot of "{plot["y"]}" has no points')
    dashes = [_DASHES[n // len(COLOURS) % len(_DASHES)] for n in range(len(series))]
    lines = [
        axes.plot(s["x"], s["y"], color=_colour(n), linewidth=1.6, linestyle=dash, **_dots(s["y"]))[0]
        for n, (s, dash) in enumerate(zip(series, dashes, strict=True))
    ]
    if all(isinstance(value, int) for s in series for value in s["x"]):
        axes.xaxis.get_major_locator().set_params(integer=True)  # no ticks between integers
    if plot["log"]:
        _logarithmic(axes, "y", [value for s in series for value in s["y"]])
    return lines


def _dots(values: Sequence[float]) -> dict[str, Any]:
    """Marks for the values without a neighbour, which a line does not show."""
    shown = [False, *map(math.isfinite, values), False]
    alone = [n for n in range(len(values)) if shown[n + 1] and not (shown[n] or shown[n + 2])]
    return {"marker": "o", "markersize": 4, "markevery": alone} if alone else {}


def _draw_pareto(axes: Any, plot: Mapping[str, Any]) -> list[Any]:
    points = [(float(p["x"]), float(p["y"])) for p in plot["points"]]
    if not points:
        raise SrkdError(f'the plot of "{plot["y"]}" has no points')
    if plot["log"]:
        _logarithmic(axes, "x", [x for x, _ in points])
    best = [points[i] for i in front(points)]
    axes.step(*zip(*best, strict=True), where="post", color=_INK, linewidth=1, linestyle=(0, (4, 3)))
    marks = []
    for n, item in enumerate(_items(plot)):
        alike = [point for point, p in zip(points, plot["points"], strict=True) if p["label"] == item["label"]]
        # Shift shapes against colours after each round, so that the ninth label differs from the first.
        shape = _MARKERS[(n + n // len(COLOURS)) % len(_MARKERS)]
        marks += axes.plot(*zip(*alike, strict=True), shape, color=_colour(n), markersize=7.5)
    axes.margins(x=0.08, y=0.12)
    return marks


def _logarithmic(axes: Any, axis: str, values: Sequence[float]) -> None:
    """A log axis with plain numbers as tick labels, and several ticks even within a decade."""
    from matplotlib import ticker

    positive = [value for value in values if 0 < value < math.inf]
    if not positive:
        raise SrkdError("a logarithmic axis needs a value above 0")
    decades = math.log10(max(positive) / min(positive))
    subs = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.8 else tuple(float(n) for n in range(1, 10))
    axes.set(**{f"{axis}scale": "log"})
    which = getattr(axes, f"{axis}axis")
    which.set_major_locator(ticker.LogLocator(subs=subs) if decades > 0.3 else ticker.MaxNLocator(5))
    which.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    which.set_minor_locator(ticker.NullLocator())


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


@contextmanager
def _style() -> Iterator[None]:
    try:
        import matplotlib
    except ImportError as error:
        raise SrkdError(MISSING) from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # ignore the user's matplotlibrc
        matplotlib.rcParams.update(_STYLE)
        yield
