"""A table of stations and days, read from CSV and validated; errors name the line."""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srkd.adapters.data import check_header
from srkd.adapters.weather.recipe import Table
from srkd.errors import SrkdError, unknown
from srkd.files.atomic import printable_path

Numbers = NDArray[np.float64]
Row = dict[str, str]
_DAY = np.timedelta64(1, "D")


@dataclass
class Observations:
    """The rows of a table, sorted by station and day. `days` are datetime64[D]; a missing cell is NaN."""

    stations: NDArray[np.str_]
    days: NDArray[np.datetime64]
    columns: dict[str, Numbers]
    notices: list[str]

    def complete(self) -> NDArray[np.bool_]:
        """Mask of the rows without a missing cell in the columns read."""
        return np.asarray(np.isfinite(np.stack(list(self.columns.values()))).all(0))


def read(path: Path, table: Table) -> Observations:
    """Read the columns that `table` names.

    Rows without station or day are left out, with a notice; gaps and stations that end early also give notices.

    Raises:
        SrkdError: not a CSV file with these columns, or (with the line) a cell that is not a number or a day, a value
            out of the physical range, or a duplicate day of a station.
    """
    header, rows = _rows(path)
    for column in _named(table):
        if column not in header:
            raise SrkdError(f"{printable_path(path)}: {unknown('column', column, header)}")
    limits = _columns(table, header)
    check_header(path, header, [table.station, table.time, *limits])
    known = [(line, row) for line, row in rows if row[table.station].strip() and row[table.time].strip()]
    if not known:
        raise SrkdError(f"{printable_path(path)}: no row has both {table.station} and {table.time}")
    days = np.array([_day(path, line, table.time, row[table.time]) for line, row in known])
    stations = np.array([row[table.station].strip() for _, row in known])
    order = np.lexsort((days, stations))
    _check_duplicates(path, [known[i] for i in order], stations[order], days[order])
    columns = {
        column: np.array([_number(path, line, column, row[column], possible) for line, row in known])[order]
        for column, possible in limits.items()
    }
    notices = _without_place(len(rows) - len(known), table) + _gaps(stations[order], days[order], columns)
    return Observations(stations[order], days[order], columns, notices)


def _rows(path: Path) -> tuple[list[str], list[tuple[int, Row]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            rows = [(reader.line_num, row) for row in reader]
            header = list(reader.fieldnames or [])
    except csv.Error as error:
        raise SrkdError(f"{printable_path(path)}, line {reader.reader.line_num}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SrkdError(f"{printable_path(path)}: cannot be read as CSV text: {error}") from error
    too_long = next((line for line, row in rows if None in row), None)
    if too_long:
        raise SrkdError(f"{printable_path(path)}, line {too_long}: more cells than the {len(header)} of the header")
    return header, rows


def _named(table: Table) -> list[str]:
    quantities = [column for q in table.quantities for column in (q.present, q.observed, q.forecast)]
    return [table.station, table.time, table.latitude, table.longitude, *quantities, *table.inputs]


def _columns(table: Table, header: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The numeric columns, each with its smallest and largest possible value."""
    wanted = [c for c in header if c in table.inputs or any(fnmatchcase(c, pattern) for pattern in table.simulated)]
    limits = {column: (-math.inf, math.inf) for column in wanted}
    limits |= {table.latitude: (-90.0, 90.0), table.longitude: (-180.0, 360.0)}
    return limits | {column: table.range for q in table.quantities for column in (q.present, q.observed, q.forecast)}


def _day(path: Path, line: int, column: str, text: str) -> np.datetime64:
    try:
        # numpy's own parser would accept "NaT", "today" and a year alone.
        return np.datetime64(datetime.date.fromisoformat(text.strip()), "D")
    except ValueError as error:
        raise SrkdError(
            f"{printable_path(path)}, line {line}: {column} {text!r} is not a day such as 2013-06-30"
        ) from error


def _number(path: Path, line: int, column: str, text: str, limits: tuple[float, float]) -> float:
    if not text.strip():
        return math.nan
    try:
        value = float(text)
    except ValueError as error:
        raise SrkdError(f"{printable_path(path)}, line {line}: {column} {text!r} is not a number") from error
    if math.isinf(value):
        raise SrkdError(f"{printable_path(path)}, line {line}: {column} {text!r} is not finite")
    if not math.isnan(value) and not limits[0] <= value <= limits[1]:
        low, high = limits
        raise SrkdError(
            f"{printable_path(path)}, line {line}: {column} is {value:g}, which is outside {low:g} to {high:g}: "
            "check its unit and its decimal point"
        )
    return value


def _check_duplicates(path: Path, rows: Sequence[tuple[int, Row]], stations: np.ndarray, days: np.ndarray) -> None:
    same = np.flatnonzero((stations[1:] == stations[:-1]) & (days[1:] == days[:-1]))
    if len(same):
        i = int(same[0])
        raise SrkdError(
            f"{printable_path(path)}, line {rows[i + 1][0]}: duplicate row of station {stations[i]} on {days[i]} "
            f"(first in line {rows[i][0]})"
        )


def _without_place(count: int, table: Table) -> list[str]:
    return [f"{count} rows without {table.station} or {table.time} are left out"] if count else []


def _gaps(stations: np.ndarray, days: np.ndarray, columns: dict[str, Numbers]) -> list[str]:
    """Notices about missing cells, days missing at one station but not at others, and stations that end early."""
    notices = []
    empty = sum(int(np.isnan(values).sum()) for values in columns.values())
    if empty:
        notices.append(f"{empty} of {len(days) * len(columns)} cells are missing")
    last, every = days.max(), np.unique(days)
    for name in np.unique(stations):
        own = days[stations == name]
        if own.max() < last:
            notices.append(f"station {name} ends on {own.max()}, while others continue to {last}")
        gaps = int(((every >= own.min()) & (every <= own.max())).sum()) - len(own)
        if gaps:
            notices.append(f"station {name} lacks {gaps} day(s) that other stations have")
    return notices


def before(found: Observations, days: int, columns: Iterable[str]) -> list[Numbers]:
    """Values of columns `days` days before each row at the same station; NaN if the table has no such row."""
    rows = {key: i for i, key in enumerate(zip(found.stations, found.days, strict=True))}
    places = [rows.get((s, d - days * _DAY), -1) for s, d in zip(found.stations, found.days, strict=True)]
    return [np.where(np.array(places) >= 0, found.columns[column][places], np.nan) for column in columns]
