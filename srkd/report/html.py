"""A report as one self-contained HTML file, without server, network or other files.

A page has a title and sections; a section is a dictionary whose parts are shown in the given order. All content is text
or numbers and is escaped; images are PNG in base64, plots are described by numbers (`srkd.report.plots`). Layout and
style are in `page.html.j2`, `page.css` and `page.js`.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

import jinja2

from srkd.errors import SrkdError, unknown
from srkd.report import plots, tables
from srkd.report.tables import printable
from srkd.version import __version__

_LONG = 16  # number of rows above which a table scrolls separately


class PageSection(TypedDict, total=False):
    """The parts of a section.

    * `heading`: its title, also in the table of contents.
    * `paragraphs`: lines of text.
    * `facts`: a few key numbers, {"value", "label"} each.
    * `table`: {"rows", "columns"} as in `srkd.report.tables`, sortable by every column, and optionally "caption".
    * `plot`: from `plots.curves` or `plots.pareto`, and optionally "caption".
    * `crops`: from `crops.section`: {"items": [{"label", "note", "png"}]} of one size, shown side by side and
      under a slider; optionally "caption", and "left" and "right", the labels that the slider starts with.
    * `recipe`: the resolved recipe's text, folded.
    """

    heading: str
    paragraphs: Sequence[str]
    facts: Sequence[Mapping[str, str]]
    table: Mapping[str, Any]
    plot: Mapping[str, Any]
    crops: Mapping[str, Any]
    recipe: str


def page(title: str, sections: Sequence[PageSection], lead: str = "", footer: str = "") -> str:
    """The report as one HTML document.

    Args:
        lead: a sentence below the title that summarises the results.
        footer: text at the end after srkd's version, e.g. the command that generated the page.

    Raises:
        SrkdError: unknown part of a section, mixed protocols in a table, crops of different sizes or not in PNG.
    """
    numbered = list(enumerate(sections, 1))
    return _template().render(
        title=title,
        lead=lead,
        contents=[(number, section["heading"]) for number, section in numbered if "heading" in section],
        sections=[{"heading": section.get("heading"), "parts": _parts(section)} for section in sections],
        footer=f"srkd {__version__}{footer and ', '}{footer}",
        style=_file("page.css"),
        script=_file("page.js"),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2")


@cache
def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _parts(section: PageSection) -> list[tuple[str, Any]]:
    for part in section:
        if part not in _PREPARED:
            raise unknown("part of a section", part, _PREPARED)
    return [(part, _PREPARED[part](value)) for part, value in section.items()]


def _unchanged(value: Any) -> Any:
    return value


def _table(table: Mapping[str, Any]) -> dict[str, Any]:
    rows, names, caption = table["rows"], table["columns"], table.get("caption", "")
    stamp = tables.protocol(rows)
    columns = [_column(rows, name, tag="th" if name == names[0] else "td") for name in names]
    return {
        "label": caption or "Table",
        "tall": len(rows) > _LONG,
        "head": [{"text": name, "number": tables.numeric(rows, name)} for name in names],
        "body": list(zip(*columns, strict=True)),
        "captions": [sentence for sentence in (caption, f"Protocol: {stamp}." if stamp else "") if sentence],
    }


def _column(rows: Sequence[tables.Row], name: str, tag: str) -> list[dict[str, Any]]:
    """A column's cells; in a numeric column each has its number as sort key for the script."""
    number = tables.numeric(rows, name)
    return [
        {"tag": tag, "number": number, "text": text, "key": _sort_key(row.get(name)) if number else None}
        for row, text in zip(rows, tables.cells(rows, name), strict=True)
    ]


def _sort_key(value: Any) -> str | None:
    """A cell's number as JavaScript reads it; None if it is missing or NaN."""
    number = tables.sort_value(value)
    return None if number is None or math.isnan(number) else repr(number).replace("inf", "Infinity")


def _plot(plot: Mapping[str, Any]) -> dict[str, Any]:
    axes, caption = f"{plot.get('y')} over {plot.get('x')}", plot.get("caption", "")
    if not plots.available():  # the page is still useful without plots
        return {"missing": f"{axes}: {plots.MISSING}"}
    return {
        "missing": "",
        "label": caption or axes,
        "drawn": {kind: plots.themed(plot, narrow=kind == "narrow") for kind in ("wide", "narrow")},
        "captions": [caption] if caption else [],
    }


def _crops(crops: Mapping[str, Any]) -> dict[str, Any]:
    items, caption = crops["items"], crops.get("caption", "")
    sizes = {item["label"]: _png_size(item["label"], item["png"]) for item in items}
    if len(set(sizes.values())) != 1 or len(sizes) != len(items):
        listed = ", ".join(f"{label} {width}x{height}" for label, (width, height) in sizes.items()) or "none"
        raise SrkdError(f"crops to compare must have the same size and different labels: {listed}")
    width, height = next(iter(sizes.values()))
    labels = list(sizes)
    left, right = crops.get("left", labels[0]), crops.get("right", labels[-1])
    for label in (left, right):
        if label not in sizes:
            raise unknown("crop", label, labels)
    return {
        "width": width,
        "height": height,
        "labels": labels,
        "left": left,
        "right": right,
        "items": [{"label": item["label"], "png": item["png"], "note": item.get("note", "")} for item in items],
        "captions": [caption] if caption else [],
    }


def _png_size(label: str, png: str) -> tuple[int, int]:
    """Width and height from the header of a base64 PNG; raises SrkdError if it is not one."""
    try:
        data = base64.b64decode(png, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise SrkdError(f'the crop "{label}" is not a PNG in base64')
    width, height = struct.unpack(">II", data[16:24])
    return width, height


_PREPARED: dict[str, Callable[[Any], Any]] = {
    "heading": _unchanged,
    "paragraphs": _unchanged,
    "facts": _unchanged,
    "table": _table,
    "plot": _plot,
    "crops": _crops,
    "recipe": str.strip,
}
