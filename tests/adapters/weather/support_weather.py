"""A synthetic table of stations and days, and the recipe section that reads it."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from srkd.adapters.weather.recipe import Table

HEADER = ["station", "Date", "T", "lat", "lon", "DEM", "Model_T", "Model_RH", "Next_T"]

# Two stations, three days of July 2013. Errors of the model: +1, -1, +2 at A; 0, +1, -3 at B.
BY_HAND = [
    ["A", "2013-07-01", "20", "37.5", "127.0", "10", "23", "50", "22"],
    ["B", "2013-07-01", "19", "37.6", "127.1", "90", "20", "60", "20"],
    ["A", "2013-07-02", "22", "37.5", "127.0", "10", "24", "55", "25"],
    ["B", "2013-07-02", "20", "37.6", "127.1", "90", "22", "65", "21"],
    ["A", "2013-07-03", "25", "37.5", "127.0", "10", "25", "52", "23"],
    ["B", "2013-07-03", "21", "37.6", "127.1", "90", "21", "61", "24"],
]


def write(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def summers(years: Sequence[int], stations: str = "ABC", days: int = 20) -> list[list[str]]:
    """Rows of some July days of several years: persistent weather, and a model with errors of about a degree."""
    rng = np.random.default_rng(0)
    rows = []
    for year in years:
        truth = 25 + np.cumsum(rng.normal(0, 1, (days + 1, len(stations))), 0)
        for day in range(days):
            date = (datetime.date(year, 7, 1) + datetime.timedelta(day)).isoformat()
            for s, name in enumerate(stations):
                now, then = truth[day, s], truth[day + 1, s]
                place = [f"{37 + s / 10}", f"{127 + s / 10}", f"{10 * s}"]
                model = [f"{then + rng.normal(0.5, 1):.2f}", f"{rng.uniform(40, 90):.1f}"]
                rows.append([name, date, f"{now:.2f}", *place, *model, f"{then:.2f}"])
    return rows


def section(**changes: Any) -> dict[str, Any]:
    quantity = {"name": "T", "present": "T", "observed": "Next_T", "forecast": "Model_T"}
    table = {
        "root": "table.csv",
        "quantities": [quantity],
        "inputs": ["DEM"],
        "simulated": ["Model_*"],
        "train": [2013, 2014],
        "test": [2015],
    }
    return {**table, **changes}


def table(**changes: Any) -> Table:
    return Table(**section(**changes))
