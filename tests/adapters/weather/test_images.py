"""Plots and tables of finished studies: RMSE by epoch, epochs needed, maps of errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srkd.adapters.data import plot_runs
from srkd.adapters.weather import epochs, maps
from srkd.errors import SrkdError
from srkd.images.read import read_image


def results(folder: Path, curves: dict[str, list[list[float]]], metric: str = "Tmax/rmse") -> Path:
    """Write a study's results.json with the RMSE after each epoch by variant and seed."""
    runs = [
        {"variant": variant, "seed": seed, "curves": {metric: [[10 * i, v] for i, v in enumerate(values, 1)]}}
        for variant, seeds in curves.items()
        for seed, values in enumerate(seeds)
    ]
    path = folder / "results.json"
    path.write_text(json.dumps({"runs": runs}))
    return path


def test_epochs_to_the_controls_best(tmp_path: Path) -> None:
    path = results(
        tmp_path,
        {
            "control": [[5, 4, 3, 2, 3], [5, 4, 3, 4, 5]],  # on average 5 4 3 3 4: best 3 after the third
            "kd": [[4, 2, 3, 3, 3], [4, 3, 3, 3, 2]],  # 4 2.5 3 3 2.5
            "worse": [[6, 6, 6, 6, 6], [6, 6, 6, 6, 6]],
        },
    )
    curves = epochs.read(path)
    rows = {row["variant"]: row for row in epochs.reached(curves["Tmax"])}
    assert rows["control"]["epochs to the control's best"] == 3 and rows["control"]["seed by seed"] == "4/4, 3/3"
    assert rows["kd"]["epochs to the control's best"] == 2 and rows["kd"]["share of its epochs"] == "67%"
    assert rows["kd"]["best RMSE"] == "2.5000" and rows["kd"]["seed by seed"] == "2/4, 2/3"
    assert rows["worse"]["epochs to the control's best"] == "never" and "never/4" in rows["worse"]["seed by seed"]


def test_the_plot_and_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results(tmp_path, {"control": [[3, 2, 1.5]], "kd": [[2, 1.5, 1]]}, metric="rmse")
    epochs.main([str(path), str(tmp_path / "out.png")])
    assert "| kd" in capsys.readouterr().out
    assert min(read_image(tmp_path / "out.png").pixels.shape[:2]) > 200


@pytest.mark.parametrize("content", ["", "[]", '{"runs": []}', '{"runs": [{"variant": "kd", "curves": {"rmse": []}}]}'])
def test_other_results_raise(content: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(SrkdError, match=r"results.json: not the results of a weather study"):
        epochs.read(tmp_path / "results.json")
    with pytest.raises(SrkdError, match="not the results of a weather study"):
        epochs.read(tmp_path / "absent.json")


def run(folder: Path, errors: Any) -> Path:
    folder.mkdir()
    (folder / "errors.json").write_text(json.dumps(errors))
    return folder


STATIONS = {
    "unit": "K",
    "stations": [
        {"station": "A", "lat": 37.5, "lon": 127.0, "rmse": 1.5},
        {"station": "B", "lat": 37.6, "lon": 127.1, "rmse": 2.5},
        {"station": "C", "lat": None, "lon": None, "rmse": None},
    ],
}
FIELD = np.random.default_rng(0).normal(0, 1, (3, 8, 8)).tolist()
CIRCLE = np.random.default_rng(0).normal(0, 1, (3, 9)).tolist()


@pytest.mark.parametrize(
    "errors",
    [
        {"Tmax": STATIONS, "Tmin": STATIONS},
        {"vorticity": dict(zip(("truth", "student", "simulation"), FIELD, strict=True))},
        {"X": dict(zip(("truth", "student", "simulation"), CIRCLE, strict=True))},
    ],
    ids=["stations", "fields", "circle"],
)
def test_maps_of_errors(errors: Any, tmp_path: Path) -> None:
    control, kd = run(tmp_path / "a", errors), run(tmp_path / "b", errors)
    plot_runs(maps.read, maps.plot, [str(tmp_path / "out.png"), f"control={control}", f"kd={kd}"])
    pixels = read_image(tmp_path / "out.png").pixels
    assert min(pixels.shape[:2]) > 200 and len(np.unique(pixels)) > 20


def test_runs_with_different_quantities_raise(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=r"errors.json: not from a finished weather run"):
        maps.read(tmp_path)
    with pytest.raises(SrkdError, match="the runs forecast different quantities"):
        maps.plot({"a": {"Tmax": STATIONS}, "b": {"Tmin": STATIONS}}, tmp_path / "out.png")
