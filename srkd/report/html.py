"""One HTML file that holds a whole report: no server, no network, nothing beside it.

A page is a title and sections; a section is a dictionary whose parts are shown in the order given. Everything in it is
text or numbers and is escaped; pictures are PNG in base64, plots are described by numbers (`srkd.report.plots`).
"""

from __future__ import annotations

import base64
import binascii
import html
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from srkd.errors import SrkdError, unknown
from srkd.report import plots, tables
from srkd.report.script import SCRIPT
from srkd.report.style import STYLE
from srkd.report.text import printable
from srkd.version import __version__

# The browser itself is told to fetch nothing: a slip in escaping could not send anything anywhere either.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'"
_LONG = 16  # rows above which a table scrolls in a box of its own


class Section(TypedDict, total=False):
    """What a section may hold.

    * `heading`: its title, also in the list at the top of the page.
    * `paragraphs`: lines of text.
    * `facts`: a few numbers that matter, {"value", "label"} each.
    * `table`: {"rows", "columns"} as in `srkd.report.tables`, sortable by every column, and optionally "caption".
    * `plot`: what `plots.curves` or `plots.pareto` returns, and optionally "caption".
    * `crops`: what `crops.section` returns: {"items": [{"label", "note", "png"}]} of one size, shown side by side and
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


def page(title: str, sections: Sequence[Section], lead: str = "", footer: str = "") -> str:
    """The report as one HTML document.

    Args:
        lead: a sentence under the title that says what was found.
        footer: said at the end after srkd's version: the command that made the page.

    Raises:
        SrkdError: a part that no section has, protocols mixed in a table, crops of different sizes or that are no PNG.
    """
    body = "\n".join(_section(section, number) for number, section in enumerate(sections, 1))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
{_wrapped("p", lead, "lead")}
{_contents(sections)}
</header>
<main>
{body}
</main>
{_wrapped("footer", f"srkd {__version__}{footer and ', '}{footer}")}
<script>{SCRIPT}</script>
</body>
</html>
"""


def _text(value: Any) -> str:
    """Escaped for text and attributes."""
    return html.escape(printable(value))


def _wrapped(tag: str, text: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<{tag}{attribute}>{_text(text)}</{tag}>" if text else ""


def _contents(sections: Sequence[Section]) -> str:
    links = [
        f'<li><a href="#s{number}">{_text(section["heading"])}</a></li>'
        for number, section in enumerate(sections, 1)
        if "heading" in section
    ]
    return f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>' if len(links) > 2 else ""


def _section(section: Section, number: int) -> str:
    for part in section:
        if part not in _PARTS:
            raise unknown("part of a section", part, _PARTS)
    parts = "\n".join(_PARTS[part](value) for part, value in section.items())
    kind = "" if "heading" in section else ' class="more"'  # goes on with the section before it
    return f'<section id="s{number}"{kind}>\n{parts}\n</section>'


def _heading(text: str) -> str:
    return _wrapped("h2", text)


def _paragraphs(lines: Sequence[str]) -> str:
    return "\n".join(_wrapped("p", line) for line in lines)


def _facts(facts: Sequence[Mapping[str, str]]) -> str:
    pairs = (f"<div><dt>{_text(fact['label'])}</dt><dd>{_text(fact['value'])}</dd></div>" for fact in facts)
    return f'<dl class="facts">{"".join(pairs)}</dl>'


def _table(table: Mapping[str, Any]) -> str:
    rows, names = table["rows"], table["columns"]
    stamp = tables.protocol(rows)
    columns = [_column(rows, name, row_heads=name == names[0]) for name in names]
    head, *body = (f"<tr>{''.join(line)}</tr>" for line in zip(*columns, strict=True))
    caption, newline = table.get("caption", ""), "\n"
    tall = " tall" if len(rows) > _LONG else ""
    return f"""<figure class="table">
<div class="scroll{tall}" role="region" tabindex="0" aria-label="{_text(caption or "Table")}">
<table><thead>{head}</thead>
<tbody>
{newline.join(body)}
</tbody></table>
</div>
{_caption(caption, f"Protocol: {stamp}." if stamp else "")}
</figure>"""


def _column(rows: Sequence[tables.Row], name: str, row_heads: bool) -> list[str]:
    """A column's heading and cells; the cells of a column of numbers carry theirs, for the script to sort by."""
    number = tables.numeric(rows, name)
    kind = ' class="number"' if number else ""
    tag, scope = ("th", ' scope="row"') if row_heads else ("td", "")
    cells = [f'<th scope="col"{kind}>{_text(name)}</th>']
    for row, text in zip(rows, tables.cells(rows, name), strict=True):
        value = tables.sort_value(row.get(name)) if number else None
        key = f' data-sort="{value!r}"' if value is not None else ""
        cells.append(f"<{tag}{scope}{kind}{key}>{_text(text)}</{tag}>")
    return cells


def _caption(*sentences: str) -> str:
    said = " ".join(f"<span>{_text(sentence)}</span>" for sentence in sentences if sentence)
    return f"<figcaption>{said}</figcaption>" if said else ""


def _plot(plot: Mapping[str, Any]) -> str:
    if not plots.available():  # the numbers are worth a page without it
        return _wrapped("p", f"{plot.get('y')} over {plot.get('x')}: {plots.MISSING}")
    caption = plot.get("caption", "")
    says = _text(caption or f"{plot.get('y')} over {plot.get('x')}")
    drawn = (
        f'<div class="{kind}" role="img" aria-label="{says}">{plots.themed(plot, narrow=kind == "narrow")}</div>'
        for kind in ("wide", "narrow")
    )
    return f'<figure class="plot">{"".join(drawn)}{_caption(caption)}</figure>'


def _crops(crops: Mapping[str, Any]) -> str:
    items = crops["items"]
    sizes = {item["label"]: _png_size(item["label"], item["png"]) for item in items}
    if len(set(sizes.values())) != 1 or len(sizes) != len(items):
        said = ", ".join(f"{label} {width}x{height}" for label, (width, height) in sizes.items()) or "none"
        raise SrkdError(f"crops to compare must be of one size, each with a label of its own: {said}")
    width, height = next(iter(sizes.values()))
    labels = list(sizes)
    left, right = crops.get("left", labels[0]), crops.get("right", labels[-1])
    for label in (left, right):
        if label not in sizes:
            raise unknown("crop", label, labels)
    strip = "\n".join(_crop(item, width, height) for item in items)
    return f"""<figure class="crops" style="--width: {width}; --height: {height}">
<div class="compare" hidden>
<div class="stage">
<div class="viewport" tabindex="0" role="region" aria-label="Magnified view; when zoomed, arrow keys move it">
<div class="canvas"><img class="over-right" alt=""><img class="over-left" alt=""></div>
</div>
<div class="divider"></div><span class="tag left"></span><span class="tag right"></span>
</div>
<div class="controls">
<label class="slide">Divider<input type="range" min="0" max="100" value="50" step="1"></label>
<label>Left<select class="pick-left">{_choices(labels, left)}</select></label>
<label>Right<select class="pick-right">{_choices(labels, right)}</select></label>
<label>Zoom<select class="zoom">{_choices(["1×", "2×", "4×", "8×"], "1×")}</select></label>
</div>
</div>
<div class="strip">
{strip}
</div>
{_caption(crops.get("caption", ""))}
</figure>"""


def _crop(item: Mapping[str, str], width: int, height: int) -> str:
    label, note = _text(item["label"]), _wrapped("span", item.get("note", ""))
    source = f"data:image/png;base64,{item['png']}"
    return (
        f'<figure><img src="{source}" alt="{label}" width="{width}" height="{height}">'
        f"<figcaption><b>{label}</b>{note}</figcaption></figure>"
    )


def _choices(labels: Sequence[str], chosen: str) -> str:
    return "".join(f"<option{' selected' if x == chosen else ''}>{_text(x)}</option>" for x in labels)


def _png_size(label: str, png: str) -> tuple[int, int]:
    """Width and height from the header of a base64 PNG, which is thereby known to be base64 and a PNG."""
    try:
        data = base64.b64decode(png, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise SrkdError(f'the crop "{label}" is not a PNG in base64')
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _recipe(text: str) -> str:
    code = f'<pre tabindex="0"><code>{_text(text.strip())}</code></pre>'
    return f"<details><summary>Resolved recipe</summary>{code}</details>"


_PARTS: dict[str, Callable[[Any], str]] = {
    "heading": _heading,
    "paragraphs": _paragraphs,
    "facts": _facts,
    "table": _table,
    "plot": _plot,
    "crops": _crops,
    "recipe": _recipe,
}
