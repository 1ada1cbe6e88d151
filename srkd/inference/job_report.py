"""A file with a row for each image: JSON lines, or a JSON array or CSV if it is so named.

A spreadsheet takes text for a formula that starts with one of a few characters, and images may be named by a stranger.
In CSV such text therefore follows an apostrophe, and all text is in quotes, as OWASP recommends against CSV injection
(https://owasp.org/www-community/attacks/CSV_Injection); numbers are left as they are.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path, write_text
from srkd.files.remote import Url, place, write
from srkd.inference.jobs import Outcome, as_row

_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")


def check_report(name: str | None) -> None:
    """Raise SrkdError unless a report has a suffix that is written, and one process to write it."""
    if name is not None and place(name).suffix.lower() not in _FORMATS:
        raise SrkdError(f"{printable_path(name)}: a report is named .jsonl, .json or .csv")
    if name is not None and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise SrkdError(
            f"{printable_path(name)}: several processes would replace each other's rows; leave out --report, "
            "or share the images by --on ray"
        )


def write_report(name: str, outcomes: Sequence[Outcome]) -> None:
    """Write a row for each outcome, all or nothing, to a file or URL.

    Raises:
        SrkdError: it cannot be written.
    """
    rows = [{**as_row(outcome), "backend": outcome.backend or None} for outcome in outcomes]
    target = place(name)
    text = _FORMATS[target.suffix.lower()](rows)
    if isinstance(target, Url):
        write(target, text.encode())
    else:
        write_text(target, text)


def _json_lines(rows: Sequence[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _json(rows: Sequence[dict[str, object]]) -> str:
    return json.dumps(rows, indent=1) + "\n"


def _csv(rows: Sequence[dict[str, object]]) -> str:
    stream = io.StringIO()
    if rows:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def _cell(value: object) -> object:
    """A value as a number or as text that no spreadsheet takes for a formula."""
    if isinstance(value, tuple):
        value = "; ".join(map(str, value)) if value and isinstance(value[0], str) else "x".join(map(str, value))
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    return "" if value is None else value


_FORMATS = {".jsonl": _json_lines, ".json": _json, ".csv": _csv}
