"""Plots and tables of finished studies: RMSE by step, steps and forecasts needed, maps of errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srkd.adapters.data import plot_runs
from srkd.adapters.weather import learning, maps
from srkd.errors import SrkdError
from srkd.images.read import read_image


def results(folder: Path, curves: dict[str, tuple[list[list[float]], list[list[float]]]]) -> Path:
    """Write a study's results.json with the RMSE of validation and test at steps 10, 20, ... by variant and seed."""
    runs = [
        {
            "variant": variant,
            "seed": seed,
            "curves": {
                f"{name}/rmse": [[10 * i, value] for i, value in enumerate(values, 1)]
                for name, values in (("Tmax", test), ("validation Tmax", validation))
            },
        }
        for variant, both in curves.items()
        for seed, (validation, test) in enumerate(zip(*both, strict=True))
    ]
    path = folder / "results.json"
    path.write_text(json.dumps({"runs": runs[::-1], "alpha": 0.05}))
    return path


LEARNT = {
    # Plateaus 2 and 3 of validation, so targets 2.02 and 3.03; tests there 7 and 6.
    "control": ([[5.0, 2.01, 2.0, 2.5], [5.0, 4.0, 3.0, 3.5]], [[9.0, 8.0, 7.0, 1.0], [9.0, 7.0, 6.0, 1.0]]),
    "fast": ([[2.02, 1.0, 1.5, 1.9], [4.0, 3.03, 2.0, 2.9]], [[9.0, 5.0, 1.0, 1.0], [9.0, 8.0, 4.0, 1.0]]),
    "slow": ([[5.0, 5.0, 5.0, 2.03], [5.0, 5.0, 5.0, 2.0]], [[9.0, 9.0, 9.0, 9.0], [9.0, 9.0, 9.0, 9.0]]),
}


def test_steps_to_the_controls_plateau_and_errors_at_the_best_validation(tmp_path: Path) -> None:
    found = learning.read(results(tmp_path, LEARNT))["Tmax"]
    goals = learning.targets(found)
    assert goals.tolist() == pytest.approx([2.02, 3.03])
    assert found["control"].steps_to(goals).tolist() == [20, 30] and found["control"].chosen.tolist() == [7, 6]
    assert found["fast"].steps_to(goals).tolist() == [10, 20] and found["fast"].chosen.tolist() == [5, 4]
    slow = found["slow"].steps_to(goals)
    assert np.isnan(slow[0]) and slow[1] == 40


def test_the_forecasts_that_a_control_needs() -> None:
    sizes = np.array([10.0, 100.0, 1000.0])
    errors = np.array([[4.0, 3.0, 1.0], [4.0, 3.0, 1.0], [4.0, 3.0, 1.0], [4.0, 4.5, 1.0]])
    found = learning.forecasts_needed(sizes, errors, np.array([3.5, 5.0, 0.5, 2.5]))
    assert found.tolist() == pytest.approx([10**1.5, 10.0, np.inf, 10**2.5])


def test_the_plot_and_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learning.main([str(results(tmp_path, LEARNT)), str(tmp_path / "out.png")])
    printed = capsys.readouterr().out
    assert "| Tmax" in printed and "| slow" in printed and "1 of 2" in printed
    assert min(read_image(tmp_path / "out.png").pixels.shape[:2]) > 200


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"runs": []}', '{"runs": [{"variant": "kd", "seed": 0, "curves": {"validation T/rmse": [[1, 2]]}}]}'],
)
def test_other_results_raise(content: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(SrkdError, match=r"results.json: not the results of a weather study"):
        learning.read(tmp_path / "results.json")
    with pytest.raises(SrkdError, match="not the results of a weather study"):
        learning.read(tmp_path / "absent.json")


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
