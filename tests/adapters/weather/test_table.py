"""The table reader: known errors of LDAPS, a handmade table, and errors for invalid files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support_weather import BY_HAND, HEADER, table, write

from srkd.adapters.weather.recipe import Table
from srkd.adapters.weather.table import Observations, before, read
from srkd.errors import SrkdError
from srkd.training import recipe as recipes

STUDY = Path(__file__).parents[3] / "models" / "studies" / "weather_ldaps" / "base.yml"


def rmse(found: Observations, forecast: str, observed: str) -> float:
    rows = found.complete()
    return float(np.sqrt(np.mean((found.columns[forecast] - found.columns[observed])[rows] ** 2)))


def changed(row: int, column: str, value: str) -> list[list[str]]:
    rows = [list(r) for r in BY_HAND]
    rows[row][HEADER.index(column)] = value
    return rows


def test_complete_rows_of_ldaps_give_the_known_errors(data: Path) -> None:
    settings = Table(**recipes.read(STUDY)["data"]["table"])
    found = read(data / "weather" / "ldaps_seoul.csv", settings)
    assert len(found.days) == 7750 and found.complete().sum() == 7588
    assert "2 rows without station or Date are left out" in found.notices
    pairs = [
        (f"{name}_{q}{end}", f"Next_{q}")
        for name, end in (("LDAPS", "_lapse"), ("Present", ""))
        for q in ("Tmax", "Tmin")
    ]
    errors = [rmse(found, forecast, observed) for forecast, observed in pairs]
    assert errors == pytest.approx([1.850, 1.304, 2.731, 1.583], abs=0.005)


def test_a_handmade_table(tmp_path: Path) -> None:
    found = read(write(tmp_path / "t.csv", BY_HAND[::-1]), table())
    assert found.stations.tolist() == ["A"] * 3 + ["B"] * 3 and found.notices == []
    assert found.columns["T"].tolist() == [20, 22, 25, 19, 20, 21]
    assert rmse(found, "Model_T", "Next_T") == pytest.approx(np.sqrt((1 + 1 + 4 + 0 + 1 + 9) / 6))
    assert rmse(found, "T", "Next_T") == pytest.approx(np.sqrt((4 + 9 + 4 + 1 + 1 + 9) / 6))


def test_previous_days_are_of_the_same_station(tmp_path: Path) -> None:
    found = read(write(tmp_path / "t.csv", [*BY_HAND[:2], *BY_HAND[3:]]), table())
    (yesterday,) = before(found, 1, ["T"])
    np.testing.assert_array_equal(yesterday, [np.nan, np.nan, np.nan, 19, 20])  # A has no 2 July


def test_rows_without_station_or_date_are_left_out(tmp_path: Path) -> None:
    extremes = [["", "", "19", "37.5", "127.0", "10", "20", "50", "20"], ["A", " ", *BY_HAND[0][2:]]]
    found = read(write(tmp_path / "t.csv", BY_HAND + extremes), table())
    assert len(found.days) == 6 and found.notices == ["2 rows without station or Date are left out"]


def test_missing_cells_gaps_and_stations_that_end_early_give_notices(tmp_path: Path) -> None:
    rows = changed(0, "Model_T", "")
    rows += [
        ["A", "2013-07-05", *BY_HAND[4][2:]],
        ["C", "2013-07-04", *BY_HAND[4][2:]],
        ["C", "2013-07-05", *BY_HAND[4][2:]],
    ]
    found = read(write(tmp_path / "t.csv", rows), table())
    assert found.complete().sum() == len(found.days) - 1
    assert found.notices == [
        "1 of 63 cells are missing",
        "station A lacks 1 day(s) that other stations have",
        "station B ends on 2013-07-03, while others continue to 2013-07-05",
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(2, "T", "298.15"), r"line 4: T is 298.15, which is outside -90 to 60: check its unit"),
        (changed(1, "Model_T", "283.0"), "line 3: Model_T is 283, which is outside -90 to 60"),
        (changed(0, "lat", "376046"), "line 2: lat is 376046, which is outside -90 to 90.*and its decimal point"),
        (changed(0, "lat", "127.0"), "line 2: lat is 127, which is outside -90 to 90"),
        (changed(5, "lon", "-190"), "line 7: lon is -190, which is outside -180 to 360"),
        (changed(3, "DEM", "high"), "line 5: DEM 'high' is not a number"),
        (changed(3, "DEM", "inf"), "line 5: DEM 'inf' is not finite"),
        (changed(3, "Date", "07/02/2013"), "line 5: Date '07/02/2013' is not a day such as 2013-06-30"),
        (changed(3, "Date", "NaT"), "line 5: Date 'NaT' is not a day"),
        (changed(3, "Date", "2013-06-31"), "line 5: Date '2013-06-31' is not a day"),
        (changed(2, "Date", "2013-07-01"), r"line 4: duplicate row of station A on 2013-07-01 \(first in line 2\)"),
        ([["", *r[1:]] for r in BY_HAND], "no row has both station and Date"),
        ([], "no row has both station and Date"),
        ([*BY_HAND, [*BY_HAND[0], "extra"]], "line 8: more cells than the 9 of the header"),
    ],
)
def test_errors_name_the_line(rows: list[list[str]], message: str, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=message):
        read(write(tmp_path / "t.csv", rows), table())


def test_a_short_row_has_missing_cells(tmp_path: Path) -> None:
    found = read(write(tmp_path / "t.csv", [*BY_HAND, ["A", "2013-07-04", "22"]]), table())
    assert found.complete().tolist() == [True] * 3 + [False] + [True] * 3


def test_invalid_files_raise(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=r'unknown column "Next_T".*Next_X'):
        read(write(tmp_path / "t.csv", BY_HAND, [*HEADER[:-1], "Next_X"]), table())
    with pytest.raises(SrkdError, match=r't.csv: the header has 2 columns "DEM"; rename all but the one to use'):
        read(write(tmp_path / "t.csv", BY_HAND, ["DEM" if c == "Model_RH" else c for c in HEADER]), table())
    write(tmp_path / "t.csv", BY_HAND)
    with (tmp_path / "t.csv").open("a") as file:
        file.write('"A,2013-07-08\n')
    with pytest.raises(SrkdError, match="line 8: unexpected end of data"):
        read(tmp_path / "t.csv", table())
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SrkdError, match="cannot be read as CSV text"):
        read(tmp_path / "t.csv", table())
    with pytest.raises(SrkdError, match="cannot be read as CSV text"):
        read(tmp_path / "absent.csv", table())
    (tmp_path / "t.csv").write_text("")
    with pytest.raises(SrkdError, match='unknown column "station"'):
        read(tmp_path / "t.csv", table())
