"""Maps of forecast errors from the errors.json of finished runs:
`python -m srkd.adapters.weather.maps out.png control=<run folder> kd=<run folder> ...`"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from srkd.adapters.data import plot_runs, read_result
from srkd.errors import SrkdError
from srkd.files.atomic import write_bytes

Errors = Mapping[str, Mapping[str, Any]]


def read(run: Path) -> dict[str, Any]:
    """The errors at the last validation of the run in the folder `run`: by quantity, the RMSE of each station, or one
    forecast with its truth. Raises SrkdError if it is not a finished weather run."""
    return read_result(run, "errors.json", "weather")


def plot(runs: Mapping[str, Errors], path: Path) -> None:
    """Plot one row per quantity as PNG: for stations a map of their RMSE per run; for fields the truth and the errors
    of the simulation and of each run; for Lorenz-96 a line plot.

    Raises:
        SrkdError: the runs forecast different quantities.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    quantities = list(next(iter(runs.values())))
    if any(list(errors) != quantities for errors in runs.values()):
        raise SrkdError("maps of errors: the runs forecast different quantities")
    columns = 1 + len(runs) + ("stations" not in next(iter(runs.values()))[quantities[0]])
    figure, buffer = Figure(figsize=(3.1 * columns, 3.0 * len(quantities)), layout="constrained"), io.BytesIO()
    FigureCanvasAgg(figure)
    for panels, quantity in zip(figure.subfigures(len(quantities), 1, squeeze=False)[:, 0], quantities, strict=True):
        found = {name: errors[quantity] for name, errors in runs.items()}
        first = next(iter(found.values()))
        draw = _stations if "stations" in first else _fields if np.ndim(first["truth"]) == 2 else _circle
        draw(panels, quantity, found)
    figure.savefig(buffer, format="png", dpi=100)
    write_bytes(path, buffer.getvalue())


def _stations(figure: Any, quantity: str, runs: Errors) -> None:
    values = {name: [s for s in found["stations"] if s["rmse"] is not None] for name, found in runs.items()}
    rmse = [s["rmse"] for stations in values.values() for s in stations]
    look = {"s": 80, "cmap": "viridis", "vmin": min(rmse), "vmax": max(rmse), "edgecolors": "white"}
    panels = figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]
    for axes, (name, stations) in zip(panels, values.items(), strict=True):
        lon, lat, colour = ([s[key] for s in stations] for key in ("lon", "lat", "rmse"))
        marks = axes.scatter(lon, lat, c=colour, **look)
        axes.set(title=f"{quantity}, {name}", xlabel="longitude")
        axes.locator_params(nbins=5)
    panels[0].set_ylabel("latitude")
    figure.colorbar(marks, ax=list(panels), label=f"RMSE ({next(iter(runs.values()))['unit']})")


def _fields(figure: Any, quantity: str, runs: Errors) -> None:
    first = next(iter(runs.values()))
    truth = np.array(first["truth"])
    errors = {"simulation": np.array(first["simulation"]) - truth}
    errors |= {name: np.array(found["student"]) - truth for name, found in runs.items()}
    limit, error_limit = np.abs(truth).max(), max(np.abs(e).max() for e in errors.values())
    panels = figure.subplots(1, 1 + len(errors))
    shown_truth = panels[0].imshow(truth, cmap="RdBu_r", vmin=-limit, vmax=limit)
    panels[0].set_title(f"{quantity}, truth")
    for axes, (name, error) in zip(panels[1:], errors.items(), strict=True):
        marks = axes.imshow(error, cmap="PuOr", vmin=-error_limit, vmax=error_limit)
        axes.set_title(f"error of {name}\nRMSE {np.sqrt(np.mean(error**2)):.3f}", fontsize=10)
    for axes in panels:
        axes.set(xticks=[], yticks=[])
    figure.colorbar(shown_truth, ax=panels[0], shrink=0.7)
    figure.colorbar(marks, ax=list(panels[1:]), shrink=0.7)


def _circle(figure: Any, quantity: str, runs: Errors) -> None:
    first = next(iter(runs.values()))
    lines = {"truth": first["truth"], "simulation": first["simulation"]}
    axes = figure.subplots()
    for name, values in (lines | {name: found["student"] for name, found in runs.items()}).items():
        axes.plot(values, label=name, linewidth=2.5 if name == "truth" else 1.2)
    axes.set(xlabel="grid point", ylabel=quantity)
    axes.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    plot_runs(read, plot)
