"""One table, three ways: Markdown, aligned text, JSON. A row is a dictionary; scores of two protocols never share one.

A row that holds scores carries `protocol`, which says how they were measured: a line of text, or a dictionary whose
`stamp` is that line. It is printed once, under the table.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from srkd.errors import SrkdError, unknown
from srkd.report.text import printable

Row = Mapping[str, Any]


def markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A GitHub-flavoured Markdown table; columns of numbers are right-aligned, and the protocol follows in italics.

    Raises:
        SrkdError: the rows' protocols differ, or no row has one of the columns.
    """
    cells, right, stamp = _laid_out(rows, columns)
    cells = [[_in_markdown(cell) for cell in line] for line in cells]
    widths = _widths(cells)
    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
    lines = [f"| {' | '.join(_pad(line, widths, right))} |" for line in (cells[0], rule, *cells[1:])]
    return "\n".join(lines) + (f"\n\n*{_in_markdown(stamp)}*" if stamp else "")


def text(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The table for a terminal: columns two spaces apart, aligned also where letters are two cells wide.

    Raises:
        SrkdError: as `markdown`.
    """
    cells, right, stamp = _laid_out(rows, columns)
    cells = [[" ".join(cell.split()) for cell in line] for line in cells]
    widths = _widths(cells)
    lines = ["  ".join(_pad(line, widths, right)).rstrip() for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines) + (f"\n\n{stamp}" if stamp else "")


def as_json(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The table as JSON: {"protocol": line or null, "columns": [...], "rows": [{column: value}]}.

    Values are as given, save that an infinite one (PSNR of equal pictures) is the text "inf": JSON has no such number.

    Raises:
        SrkdError: as `markdown`.
    """
    chosen = [{key: _in_json(value) for key, value in row.items()} for row in _chosen(rows, columns)]
    table = {"protocol": protocol(rows), "columns": list(columns), "rows": chosen}
    return json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False)


def protocol(rows: Sequence[Row]) -> str | None:
    """The one protocol of all rows, as a line; None where no row carries any.

    Raises:
        SrkdError: rows of two protocols, or scores with a protocol beside rows without; it names a row of each.
    """
    found: dict[str | None, Row] = {}
    for row in rows:
        found.setdefault(_stamp(row.get("protocol")), row)
    if len(found) > 1:
        said = "; ".join(f"{_title(row)}: {stamp or 'none'}" for stamp, row in found.items())
        raise SrkdError(f"one table cannot hold scores of different protocols ({said}); make a table of each")
    return next(iter(found), None)


def cell(value: Any) -> str:
    """A value as the tables print it: thousands apart, floats to four significant digits or more, `-` for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float) and math.isfinite(value) and value:
        return f"{value:,.{min(8, max(0, 3 - math.floor(math.log10(abs(value)))))}f}"
    return printable(value)


def is_number(value: Any) -> bool:
    """Whether a cell belongs in a column that is aligned, and sorted, as numbers: text that reads as one is, too."""
    return sort_value(value) is not None


def sort_value(value: Any) -> float | None:
    """The number that a cell says, `1,369,859` and `38.1 %` included, or None where it says none."""
    if isinstance(value, bool):
        return None
    try:
        return float(value) if not isinstance(value, str) else float(value.strip().rstrip("%").replace(",", ""))
    except (TypeError, ValueError):
        return None


def numeric(rows: Sequence[Row], column: str) -> bool:
    """Whether a column holds numbers and, where a value is missing, nothing else."""
    present = [row[column] for row in rows if row.get(column) not in (None, "", "-")]
    return bool(present) and all(is_number(value) for value in present)


def _laid_out(rows: Sequence[Row], columns: Sequence[str]) -> tuple[list[list[str]], list[bool], str | None]:
    stamp = protocol(rows)
    chosen = _chosen(rows, columns)
    cells = [[printable(column) for column in columns], *([cell(value) for value in row.values()] for row in chosen)]
    return cells, [numeric(rows, column) for column in columns], stamp and printable(stamp)


def _chosen(rows: Sequence[Row], columns: Sequence[str]) -> list[dict[str, Any]]:
    for column in columns:
        if rows and not any(column in row for row in rows):
            raise unknown("column", column, {key for row in rows for key in row})
    return [{column: row.get(column) for column in columns} for row in rows]


def _stamp(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return str(value["stamp"]) if "stamp" in value else ", ".join(f"{k} {v}" for k, v in sorted(value.items()))
    return None if value is None else str(value)


def _title(row: Row) -> str:
    """What tells a row from others in a message: its texts, which come before its numbers."""
    return " ".join(v for k, v in row.items() if k != "protocol" and isinstance(v, str) and not is_number(v)) or "a row"


def _in_json(value: Any) -> Any:
    return printable(value) if isinstance(value, str) or value in (math.inf, -math.inf) or value != value else value


def _in_markdown(value: str) -> str:
    return " ".join(value.split()).replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _width(value: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in value)


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(3, *(_width(value) for value in column)) for column in zip(*cells, strict=True)]


def _pad(line: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    spaces = [" " * (width - _width(value)) for value, width in zip(line, widths, strict=True)]
    return [s + v if r else v + s for v, s, r in zip(line, spaces, right, strict=True)]
