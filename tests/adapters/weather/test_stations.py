"""Examples from a table: inputs of the student, and no leakage from the future."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support_weather import HEADER, summers, table, write

from srkd.adapters.weather.examples import Weather
from srkd.adapters.weather.stations import examples_of
from srkd.errors import SrkdError

YEARS = [2013, 2014, 2015]


def weather(folder: Path, rows: list[list[str]] | None = None, **changes: Any) -> Weather:
    return examples_of(write(folder / "t.csv", rows or summers(YEARS)), table(**changes))


def test_the_split_is_by_the_year_of_the_truth(tmp_path: Path) -> None:
    rows = [*summers(YEARS), ["A", "2014-12-31", "1", "37", "127", "0", "2", "50", "3"]]
    found = weather(tmp_path, rows)
    assert len(found.train) == 2 * 60 and len(found.test) == 60 + 1
    assert 3.0 in found.test.target and 3.0 not in found.train.target
    with pytest.raises(SrkdError, match=r"train \[2013, 2015\] must be before test \[2014\]"):
        weather(tmp_path, train=[2013, 2015], test=[2014])


def test_later_years_do_not_change_training_examples_or_climatology(tmp_path: Path) -> None:
    rows, later = summers(YEARS), summers(YEARS)
    for row in later:
        if row[1].startswith("2015"):
            row[HEADER.index("Next_T")] = row[HEADER.index("Model_T")] = "-50"
    one, other = weather(tmp_path, rows, history=1), weather(tmp_path, later, history=1)
    assert torch.equal(one.train.inputs, other.train.inputs) and torch.equal(one.train.target, other.train.target)
    assert torch.equal(one.climatology, other.climatology)
    assert torch.equal(one.test.inputs, other.test.inputs)


def test_inputs_are_present_and_past_values_without_forecasts(tmp_path: Path) -> None:
    plain, back = weather(tmp_path), weather(tmp_path, history=2)
    assert plain.train.inputs.shape[1] == 4 + 2 and back.train.inputs.shape[1] == 4 + 2 + 2
    assert len(back.train) == 2 * 3 * 18  # the first two days of each summer lack this history
    forecasts = summers(YEARS)
    for row in forecasts:
        row[HEADER.index("Model_T")] = row[HEADER.index("Model_RH")] = "7"
    assert torch.equal(weather(tmp_path, forecasts).train.inputs, plain.train.inputs)
    assert torch.equal(plain.test.persistence, plain.test.inputs[:, :1])


def test_inputs_from_the_model_give_a_notice(tmp_path: Path) -> None:
    found = weather(tmp_path, inputs=["DEM", "Model_RH"])
    assert "sees the numerical model's Model_RH" in found.protocol and "sees" not in weather(tmp_path).protocol
    assert any("report it separately" in notice for notice in found.notices)


def test_rows_without_forecast_are_kept_and_rows_without_truth_dropped(tmp_path: Path) -> None:
    rows = summers(YEARS)
    rows[0][HEADER.index("Model_T")] = ""
    rows[1][HEADER.index("Next_T")] = ""
    found = weather(tmp_path, rows)
    assert len(found.train) == 119
    assert found.train.simulated is not None and found.train.simulated.isnan().sum() == 1


def test_climatology_is_the_mean_of_the_training_years_around_the_day(tmp_path: Path) -> None:
    rows = summers(YEARS)
    found = weather(tmp_path, rows)
    day, truth = 4, []
    for row in rows:
        near = abs(int(row[1][-2:]) - (day + 1)) <= 10
        if row[0] == "B" and row[1] < "2015" and near:
            truth.append(float(row[-1]))
    assert found.test.place is not None
    index = day + found.test.place.tolist().index(1)  # B's fifth day
    assert found.climatology[index].item() == pytest.approx(np.mean(truth), rel=1e-6)


def test_stations_only_in_training_or_test_give_notices(tmp_path: Path) -> None:
    rows = [r for r in summers(YEARS, "ABCD") if (r[0] != "C" or r[1] < "2015") and (r[0] != "D" or r[1] > "2015")]
    found = weather(tmp_path, rows)
    assert "station C has no test rows" in found.notices
    assert "station D has no training rows" in found.notices
    assert any(notice.startswith("station C ends on 2014-07-20") for notice in found.notices)
    assert [place["station"] for place in found.places] == ["A", "B", "C", "D"]


def test_coordinates_come_from_any_row_of_the_station(tmp_path: Path) -> None:
    rows = summers(YEARS)
    rows[0][HEADER.index("lat")] = ""
    assert weather(tmp_path, rows).places[0]["lat"] == 37


def test_years_without_rows_raise(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=r"no complete row in the years \[2020\] \(data.table.test\)"):
        weather(tmp_path, test=[2020])
    with pytest.raises(SrkdError, match=r"no complete row in the years \[2001\] \(data.table.train\)"):
        weather(tmp_path, train=[2001])


def test_a_share_is_sampled_with_the_seed(tmp_path: Path) -> None:
    train = weather(tmp_path).train
    part, others = train.part(0.1, 3)
    assert len(part) == 12 and torch.equal(part.inputs, train.part(0.1, 3)[0].inputs)
    assert not torch.equal(part.inputs, train.part(0.1, 4)[0].inputs)
    every = torch.cat([part.inputs, others.inputs])
    assert torch.equal(every.sort(0).values, train.inputs.sort(0).values)
    assert len(train.part(1e-9, 0)[0]) == 1 and torch.equal(train.part(1.0, 0)[0].target, train.target)


def test_validation_years_are_a_part_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", summers([2013, 2014, 2015]))
    found = examples_of(path, table(train=[2013], validation=[2014], test=[2015]))
    assert found.validation is not None
    assert len(found.train) == len(found.validation) == len(found.test) == len(weather(tmp_path).test)
    assert not torch.equal(found.validation.inputs, found.train.inputs)
    assert examples_of(path, table()).validation is None
