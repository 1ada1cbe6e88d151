"""Examples from a table of stations: inputs of one day, truth of the next."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from srkd.adapters.weather.examples import Examples, Weather
from srkd.adapters.weather.recipe import Table
from srkd.adapters.weather.table import Numbers, Observations, before, read
from srkd.errors import SrkdError

_WINDOW = 10  # half-width of the averaging window of the climatology, in days
_YEAR = 365.25


def examples_of(path: Path, table: Table) -> Weather:
    """Training and test examples of a table: the rows whose inputs and truth are complete.

    The inputs are the present values, the coordinates, `inputs`, `history` earlier days, and the season. The day of the
    truth determines the year of a row.

    Raises:
        SrkdError: as `read`; training years after test years, or no complete row in the years.
    """
    periods = {name: getattr(table, name) for name in ("train", "validation", "test") if getattr(table, name)}
    for (name, years), (later, others) in pairwise(periods.items()):
        if max(years) >= min(others):
            raise SrkdError(f"data.table: {name} {years} must be before {later} {others}, to avoid leakage")
    found = read(path, table)
    due = found.days + np.timedelta64(1, "D")
    years = due.astype("datetime64[Y]").astype(int) + 1970
    inputs = _inputs(found, table)
    truth = np.stack([found.columns[q.observed] for q in table.quantities], 1)
    usable = np.isfinite(inputs).all(1) & np.isfinite(truth).all(1)
    rows = {name: usable & np.isin(years, wanted) for name, wanted in periods.items()}
    for name, found_rows in rows.items():
        if not found_rows.any():
            raise SrkdError(f"{path.name}: no complete row in the years {periods[name]} (data.table.{name})")
    train, test = rows["train"], rows["test"]
    names, place = np.unique(found.stations, return_inverse=True)
    climate = _climatology(truth, place, due, train)
    simulated = np.stack([found.columns[q.forecast] for q in table.quantities], 1)
    columns: list[np.ndarray] = [*(values.astype(np.float32) for values in (inputs, truth, simulated)), place]
    parts = {name: Examples(*(torch.from_numpy(column[chosen]) for column in columns)) for name, chosen in rows.items()}
    simulated_inputs = _simulated_inputs(table)
    protocol = f"{path.name}, truth of {', '.join(map(str, table.test))}, {int(test.sum())} rows"
    return Weather(
        parts["train"],
        parts["test"],
        [q.name for q in table.quantities],
        table.unit,
        f"{protocol}, sees the numerical model's {', '.join(simulated_inputs)}" if simulated_inputs else protocol,
        torch.from_numpy(climate[test].astype(np.float32)),
        validation=parts.get("validation"),
        places=_places(names, found, table),
        notices=found.notices
        + _absent(names[np.unique(place[train])], names[np.unique(place[test])])
        + _uses_model(simulated_inputs),
    )


def _inputs(found: Observations, table: Table) -> Numbers:
    present = [q.present for q in table.quantities]
    columns = [found.columns[name] for name in [*present, table.latitude, table.longitude, *table.inputs]]
    for back in range(1, table.history + 1):
        columns += before(found, back, present)
    angle = 2 * np.pi * _day_of_year(found.days) / _YEAR
    return np.stack([*columns, np.sin(angle), np.cos(angle)], 1)


def _day_of_year(days: np.ndarray) -> np.ndarray:
    return np.asarray((days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(float))


def _climatology(truth: Numbers, place: np.ndarray, due: np.ndarray, train: np.ndarray) -> Numbers:
    """For each row the mean of the training years at its station within the window; the overall mean without any."""
    season = _day_of_year(due)
    result = np.tile(truth[train].mean(0), (len(truth), 1))
    for station, day in set(zip(place.tolist(), season.tolist(), strict=True)):
        apart = np.abs(season - day)
        near = train & (place == station) & (np.minimum(apart, _YEAR - apart) <= _WINDOW)
        if near.any():
            result[(place == station) & (season == day)] = truth[near].mean(0)
    return result


def _simulated_inputs(table: Table) -> list[str]:
    patterns = [*table.simulated, *(q.forecast for q in table.quantities)]
    return [name for name in table.inputs if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _places(names: np.ndarray, found: Observations, table: Table) -> list[dict[str, object]]:
    lat, lon = found.columns[table.latitude], found.columns[table.longitude]
    places: list[dict[str, object]] = []
    for name in names:
        # The first row with coordinates; a station without any has no usable row and is not on a map.
        rows = np.flatnonzero((found.stations == name) & np.isfinite(lat) & np.isfinite(lon))[:1]
        places += [{"station": str(name), "lat": float(lat[i]), "lon": float(lon[i])} for i in rows] or [
            {"station": str(name), "lat": None, "lon": None}
        ]
    return places


def _absent(train: np.ndarray, test: np.ndarray) -> list[str]:
    notices = [f"station {name} has no test rows" for name in np.setdiff1d(train, test)]
    return notices + [f"station {name} has no training rows" for name in np.setdiff1d(test, train)]


def _uses_model(columns: list[str]) -> list[str]:
    return [f"the student sees the numerical model's {', '.join(columns)}: report it separately"] if columns else []
