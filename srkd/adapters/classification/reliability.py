"""Reliability diagrams of finished runs: `python -m srkd.adapters.classification.reliability out.png ce=<run> ...`"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path, write_bytes


def read(run: Path) -> dict[str, list[float]]:
    """`confidence`, `accuracy` and `share` of each bin at the last validation of the run in the folder `run`.

    Raises:
        SrkdError: the folder is not that of a finished classification run.
    """
    path = run / "reliability.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise SrkdError(f"{printable_path(path)}: not from a finished classification run ({error})") from error


def plot(runs: Mapping[str, Mapping[str, list[float]]], path: Path) -> None:
    """Plot accuracy against confidence as PNG: one line per run, and the diagonal of perfect calibration."""
    from srkd.report import plots

    series: list[dict[str, Any]] = [{"label": "perfect", "x": [0, 1], "y": [0, 1]}]
    series += [{"label": name, "x": bins["confidence"], "y": bins["accuracy"]} for name, bins in runs.items()]
    write_bytes(path, plots.draw(plots.curves(series, "confidence", "accuracy"), "png"))


def main(arguments: list[str]) -> None:
    path, *runs = arguments
    named = [run.partition("=") for run in runs]
    plot({name: read(Path(folder)) for name, _, folder in named}, Path(path))


if __name__ == "__main__":
    main(sys.argv[1:])
