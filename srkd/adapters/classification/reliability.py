"""Reliability diagrams of finished runs: `python -m srkd.adapters.classification.reliability out.png ce=<run> ...`"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srkd.adapters.data import plot_runs, read_result
from srkd.files.atomic import write_bytes


def read(run: Path) -> dict[str, list[float]]:
    """`confidence`, `accuracy` and `share` of each bin at the last validation of the run in the folder `run`. Raises
    SrkdError if it is not a finished classification run."""
    return read_result(run, "reliability.json", "classification")


def plot(runs: Mapping[str, Mapping[str, list[float]]], path: Path) -> None:
    """Plot accuracy against confidence as PNG: one line per run, and the diagonal of perfect calibration."""
    from srkd.report import plots

    series: list[dict[str, Any]] = [{"label": "perfect", "x": [0, 1], "y": [0, 1]}]
    series += [{"label": name, "x": bins["confidence"], "y": bins["accuracy"]} for name, bins in runs.items()]
    write_bytes(path, plots.draw(plots.curves(series, "confidence", "accuracy"), "png"))


if __name__ == "__main__":
    plot_runs(read, plot)
