"""Readers of ratings and behaviours: tables with user, item, and optional rating and time; folders of pair lists."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srkd.adapters.data import check_header
from srkd.errors import SrkdError
from srkd.files.atomic import printable_path

Numbers = NDArray[np.int64]
# Column names, letters only, of MovieLens, Amazon, Yelp, Goodreads, Book-Crossing, Last.fm, Steam and others.
_NAMES = {
    "user": ("user", "userid", "uid", "reviewerid", "customerid", "memberid", "visitorid"),
    "item": (
        "item",
        "itemid",
        "iid",
        "movieid",
        "bookid",
        "isbn",
        "businessid",
        "asin",
        "parentasin",
        "productid",
        "artistid",
        "trackid",
        "songid",
        "gameid",
        "appid",
        "animeid",
        "recipeid",
        "newsid",
        "poiid",
        "venueid",
    ),
    "rating": ("rating", "score", "value", "stars", "overall", "bookrating", "preference"),
    "time": ("time", "timestamp", "unixtime", "unixreviewtime"),
}


@dataclass
class Lines:
    """The lines of a file in order. `users` and `items` are indices into the ids; `times` are 0 if not available."""

    users: Numbers
    items: Numbers
    ratings: NDArray[np.float64]
    times: NDArray[np.float64]
    user_ids: list[str]
    item_ids: list[str]

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, which: Numbers) -> Lines:
        arrays = (self.users[which], self.items[which], self.ratings[which], self.times[which])
        return Lines(*arrays, self.user_ids, self.item_ids)

    @property
    def pairs(self) -> Numbers:
        """A unique number (N) for each pair of user and item."""
        return self.users * len(self.item_ids) + self.items


def lines_of(users: list[str], items: list[str], ratings: NDArray[np.float64], times: NDArray[np.float64]) -> Lines:
    """Lines from ids given as text."""
    (user_ids, user_numbers), (item_ids, item_numbers) = (np.unique(ids, return_inverse=True) for ids in (users, items))
    return Lines(user_numbers, item_numbers, ratings, times, user_ids.tolist(), item_ids.tolist())


def read_table(path: Path) -> Lines:
    """Read ratings from text: columns separated by comma, semicolon, tab, `::` or blanks, with or without a header.

    Known headers are those of public data sets, including RecBole's atomic files (`user_id:token`). Without a header
    the columns are user, item, and optionally rating and time. Without a rating column every rating is 1.

    Raises:
        SrkdError: not a text file, a missing column, or (with the line) a rating or time that is not a finite number.
    """
    rows = _rows(path)
    header = rows[0][1]
    # RecBole writes name:type. Digits stay: user1 is an id, not a column.
    names = [re.sub("[^a-z0-9]", "", cell.lower().partition(":")[0]) for cell in header]
    named = _columns(names)
    if named["user"] is not None or named["item"] is not None:
        missing = [key for key in ("user", "item") if named[key] is None]
        if missing:
            shown_here = ", ".join(cell.strip().lower() for cell in header)
            raise SrkdError(
                f"{printable_path(path)}: the header has no column {', '.join(missing)}; it has {shown_here}"
            )
        check_header(path, names, [names[place] for place in named.values() if place is not None])
        rows = rows[1:]
    else:
        named = {key: place if place < len(header) else None for place, key in enumerate(_NAMES)}
    if not rows:
        raise SrkdError(f"{printable_path(path)}: no ratings found")
    width = 1 + max(place for place in named.values() if place is not None)
    for line, row in rows:
        if len(row) < max(width, 2):
            raise SrkdError(
                f"{printable_path(path)}, line {line}: {len(row)} columns, expected {max(width, 2)}: user, item, rating"
            )
    columns = {key: [row[place].strip() for _, row in rows] for key, place in named.items() if place is not None}
    lines = [line for line, _ in rows]
    for key in ("user", "item"):
        if "" in columns[key]:
            raise SrkdError(f"{printable_path(path)}, line {lines[columns[key].index('')]}: no {key}")
    ratings = _numbers(path, lines, "rating", columns["rating"]) if "rating" in columns else np.ones(len(rows))
    times = _numbers(path, lines, "time", columns["time"]) if "time" in columns else np.zeros(len(rows))
    return lines_of(columns["user"], columns["item"], ratings, times)


def _columns(names: list[str]) -> dict[str, int | None]:
    """Index of each known column among the names of a header; the item may also be the only other column of ids."""
    found = {key: next((names.index(n) for n in known if n in names), None) for key, known in _NAMES.items()}
    if found["user"] is not None and found["item"] is None:
        ids = [place for place, name in enumerate(names) if name.endswith("id") and place not in found.values()]
        found["item"] = ids[0] if len(ids) == 1 else None
    return found


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read a list of pairs, one `user item` per line.

    Raises:
        SrkdError: not a text file, or a line that is not a pair.
    """
    rows = _rows(path)
    for line, row in rows:
        if len(row) != 2 or not all(cell.strip() for cell in row):
            raise SrkdError(f"{printable_path(path)}, line {line}: not a pair of user and item")
    return [(row[0].strip(), row[1].strip()) for _, row in rows]


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank; cells between commas or semicolons may be quoted."""
    try:
        # Only line ends separate lines: an id may contain what `splitlines` also splits at.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise SrkdError(f"{printable_path(path)}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SrkdError(f"{printable_path(path)}: not a text file in UTF-8") from error
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not filled:
        raise SrkdError(f"{printable_path(path)}: is empty")
    first = filled[0][1]
    separator = next((mark for mark in ("::", "\t", ";", ",") if mark in first), None)
    if separator not in (";", ","):
        return [(number, line.split(separator)) for number, line in filled]
    reader = csv.reader((line for _, line in filled), delimiter=separator, strict=True)
    try:
        return [(filled[reader.line_num - 1][0], row) for row in reader]
    except csv.Error as error:
        raise SrkdError(f"{printable_path(path)}, line {filled[reader.line_num - 1][0]}: {error}") from error


def _numbers(path: Path, lines: list[int], name: str, cells: list[str]) -> NDArray[np.float64]:
    values = np.array([_number(cell) for cell in cells])
    invalid = np.flatnonzero(~np.isfinite(values))
    if len(invalid):
        cell = cells[invalid[0]][:40]
        raise SrkdError(f'{printable_path(path)}, line {lines[invalid[0]]}: the {name} "{cell}" is not a number')
    return values


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
