"""Tables as Markdown, aligned text or JSON. A row is a dictionary; a table never mixes scores of different protocols.

A row with scores has a `protocol`, which states how they were measured: a line of text, or a dictionary with that line
as `stamp`. It is printed once, below the table.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from srkd.errors import SrkdError, unknown

Row = Mapping[str, Any]


def printable(value: Any) -> str:
    """`str(value)` with control characters and bidirectional marks replaced by U+FFFD, and bytes that are not UTF-8
    (\\udcXX) written as \\xXX."""
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", str(value))
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A GitHub-flavoured Markdown table; columns of numbers are right-aligned, and the protocol follows in italics.

    Raises:
        SrkdError: the rows' protocols differ, or no row has one of the columns.
    """
    laid_out, right, stamp = _laid_out(rows, columns)
    lines = [[_in_markdown(cell) for cell in line] for line in laid_out]
    widths = _widths(lines)
    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
    table = [f"| {' | '.join(_pad(line, widths, right))} |" for line in (lines[0], rule, *lines[1:])]
    return "\n".join(table) + (f"\n\n*{_in_markdown(stamp)}*" if stamp else "")


def text(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The table for a terminal: columns two spaces apart, aligned also for double-width characters.

        >>> print(text([{"model": "a", "PSNR": 37.2}, {"model": "bicubic", "PSNR": 33.66}], ["model", "PSNR"]))
        model     PSNR
        -------  -----
        a        37.20
        bicubic  33.66

    Raises:
        SrkdError: as `markdown`.
    """
    laid_out, right, stamp = _laid_out(rows, columns)
    lines = [[" ".join(cell.split()) for cell in line] for line in laid_out]
    widths = _widths(lines)
    table = ["  ".join(_pad(line, widths, right)).rstrip() for line in lines]
    table.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(table) + (f"\n\n{stamp}" if stamp else "")


def as_json(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The table as JSON: {"protocol": line or null, "columns": [...], "rows": [{column: value}]}.

    Values are unchanged, except that infinity (PSNR of equal images) is the text "inf", since JSON has no such number.

    Raises:
        SrkdError: as `markdown`.
    """
    for column in columns:
        _check(rows, column)
    chosen = [{column: _in_json(row.get(column)) for column in columns} for row in rows]
    table = {"protocol": protocol(rows), "columns": list(columns), "rows": chosen}
    return json.dumps(table, indent=2, ensure_ascii=False, allow_nan=False)


def results_json(results: Any) -> str:
    """Nested results as standard JSON: an infinite number is the text "inf".

    >>> print(results_json({"psnr": [math.inf, 37.25]}).replace("\\n", ""))
    {  "psnr": [    "inf",    37.25  ]}
    """
    return json.dumps(_all_in_json(results), indent=2, ensure_ascii=False, allow_nan=False)


def protocol(rows: Sequence[Row]) -> str | None:
    """The common protocol of all rows as a line; None if no row has one.

    Raises:
        SrkdError: the rows have different protocols, or only some have one; the message names a row of each.
    """
    found: dict[str | None, Row] = {}
    for row in rows:
        found.setdefault(_stamp(row.get("protocol")), row)
    if len(found) > 1:
        listed = "; ".join(f"{_title(row)}: {stamp or 'none'}" for stamp, row in found.items())
        raise SrkdError(f"one table cannot have scores of different protocols ({listed}); use a table for each")
    return next(iter(found), None)


def by_protocol(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows in groups that can each be a table, in the order of their first rows."""
    groups: dict[str | None, list[Row]] = {}
    for row in rows:
        groups.setdefault(_stamp(row.get("protocol")), []).append(row)
    return list(groups.values())


def cells(rows: Sequence[Row], column: str) -> list[str]:
    """A column's cells as text: `-` for missing values, integers with commas (1,369,859), floats with equal decimals.

    Floats that were rounded to at most four decimals all get the largest of these numbers of decimals; otherwise each
    float gets five digits.

    Raises:
        SrkdError: no row has the column; the message names the most similar one.
    """
    _check(rows, column)
    values = [row.get(column) for row in rows]
    decimals = [_decimals(value) for value in values if isinstance(value, float) and math.isfinite(value)]
    fixed = max(decimals, default=0)
    return [_cell(value, fixed if fixed <= 4 else None) for value in values]


def _cell(value: Any, decimals: int | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float) and math.isfinite(value):
        if decimals is None:
            decimals = min(9, max(0, 4 - math.floor(math.log10(abs(value))))) if value else 1
        return f"{value:,.{decimals}f}"
    return printable(value)


def _decimals(value: float) -> int:
    """Number of decimals of a float's shortest text; 99 for exponent notation such as 1e-05."""
    _, _, decimals = str(value).partition(".")
    return len(decimals.rstrip("0")) if "e" not in str(value) else 99


def is_number(value: Any) -> bool:
    """Whether a cell is a number or text that reads as one, for alignment and sorting."""
    return sort_value(value) is not None


def sort_value(value: Any) -> float | None:
    """The number in a cell, including text such as `1,369,859` or `38.1 %`; None if it is not a number."""
    if isinstance(value, bool):
        return None
    try:
        return float(value) if not isinstance(value, str) else float(value.strip().rstrip("%").replace(",", ""))
    except (TypeError, ValueError):
        return None


def numeric(rows: Sequence[Row], column: str) -> bool:
    """Whether all values of a column that are not missing are numbers."""
    present = [row[column] for row in rows if row.get(column) not in (None, "", "-")]
    return bool(present) and all(is_number(value) for value in present)


def _laid_out(rows: Sequence[Row], columns: Sequence[str]) -> tuple[list[list[str]], list[bool], str | None]:
    stamp = protocol(rows)
    body = zip(*(cells(rows, column) for column in columns), strict=True)
    lines = [[printable(column) for column in columns], *map(list, body)]
    return lines, [numeric(rows, column) for column in columns], stamp and printable(stamp)


def _check(rows: Sequence[Row], column: str) -> None:
    if rows and not any(column in row for row in rows):
        raise unknown("column", column, {key for row in rows for key in row})


def _stamp(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return str(value["stamp"]) if "stamp" in value else ", ".join(f"{k} {v}" for k, v in sorted(value.items()))
    return None if value is None else str(value)


def _title(row: Row) -> str:
    """Name of a row in messages: its text cells."""
    return " ".join(v for k, v in row.items() if k != "protocol" and isinstance(v, str) and not is_number(v)) or "a row"


def _in_json(value: Any) -> Any:
    return printable(value) if isinstance(value, str) or value in (math.inf, -math.inf) or value != value else value


def _all_in_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _all_in_json(inner) for key, inner in value.items()}
    return [_all_in_json(inner) for inner in value] if isinstance(value, (list, tuple)) else _in_json(value)


def _in_markdown(value: str) -> str:
    return " ".join(value.split()).replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _width(value: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in value)


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(3, *(_width(cell) for cell in column)) for column in zip(*lines, strict=True)]


def _pad(line: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    spaces = [" " * (width - _width(value)) for value, width in zip(line, widths, strict=True)]
    return [s + v if r else v + s for v, s, r in zip(line, spaces, right, strict=True)]
