"""RMSE by epoch of the variants of a study, and the epochs that each needs to reach the best RMSE of the control:
`python -m srkd.adapters.weather.epochs results.json out.png` plots the curves and prints the table."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path, write_bytes
from srkd.report import plots, tables

Curves = dict[str, NDArray[np.float64]]
COLUMNS = [
    "quantity",
    "variant",
    "best RMSE",
    "at epoch",
    "epochs to the control's best",
    "share of its epochs",
    "seed by seed",
]


def read(path: Path) -> dict[str, Curves]:
    """Read a study's results.json: by quantity and variant, the RMSE after each epoch, (seeds, epochs).

    Raises:
        SrkdError: not the results of a weather study.
    """
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        found: dict[str, dict[str, list[list[float]]]] = {}
        for run in runs:
            for name, points in run["curves"].items():
                quantity, _, metric = name.rpartition("/")
                if metric == "rmse" or name == "rmse":
                    found.setdefault(quantity, {}).setdefault(run["variant"], []).append([value for _, value in points])
        curves = {q: {variant: np.array(seeds) for variant, seeds in v.items()} for q, v in found.items()}
        if not curves or any("control" not in variants for variants in curves.values()):
            raise ValueError("no RMSE for a variant control")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SrkdError(f"{printable_path(path)}: not the results of a weather study ({error})") from error
    return curves


def first_at_most(curve: NDArray[np.float64], target: float) -> int | None:
    """The first epoch, counted from 1, with an RMSE of at most `target`; None if it is never reached."""
    places = np.flatnonzero(curve <= target)
    return int(places[0]) + 1 if len(places) else None


def reached(variants: Curves) -> list[dict[str, Any]]:
    """One row per variant: the best RMSE of its mean curve, when it reaches the best of the control's mean curve, and
    the same per seed against the control of that seed."""
    control = variants["control"].mean(0)
    needed = int(control.argmin()) + 1
    rows = []
    for name, seeds in variants.items():
        mean = seeds.mean(0)
        epochs = first_at_most(mean, control.min())
        both = zip(seeds, variants["control"], strict=False)
        pairs = [(first_at_most(own, reference.min()), int(reference.argmin()) + 1) for own, reference in both]
        rows.append(
            {
                "variant": name,
                "best RMSE": f"{mean.min():.4f}",
                "at epoch": int(mean.argmin()) + 1,
                "epochs to the control's best": "never" if epochs is None else epochs,
                "share of its epochs": "-" if epochs is None else f"{epochs / needed:.0%}",
                "seed by seed": ", ".join(f"{'never' if n is None else n}/{best}" for n, best in pairs),
            }
        )
    return rows


def plot(curves: dict[str, Curves], path: Path) -> None:
    """Plot mean (line) and standard deviation (band) over seeds as PNG, one panel per quantity."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure, buffer = Figure(figsize=(4.2 * len(curves) + 1.5, 3.4), layout="constrained"), io.BytesIO()
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (quantity, variants) in zip(panels, curves.items(), strict=True):
        for colour, (name, seeds) in zip(plots.COLOURS, variants.items(), strict=False):
            epochs, mean = np.arange(1, seeds.shape[1] + 1), seeds.mean(0)
            deviation = seeds.std(0, ddof=1) if len(seeds) > 1 else np.zeros_like(mean)
            axes.plot(epochs, mean, color=colour, label=name, linewidth=1.5)
            axes.fill_between(epochs, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
        best = variants["control"].mean(0).min()
        axes.axhline(best, color="#888888", linewidth=0.8, linestyle=":")
        axes.set(xlabel="epoch", ylabel=f"RMSE of {quantity}" if quantity else "RMSE")
        # The large errors of the first epochs would compress the rest of the plot.
        axes.set_ylim(top=float(np.quantile(np.concatenate([s.mean(0) for s in variants.values()]), 0.97)))
    panels[-1].legend(frameon=False, fontsize=8)
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())


def main(arguments: list[str]) -> None:
    results, image = arguments
    curves = read(Path(results))
    plot(curves, Path(image))
    rows = [{"quantity": quantity, **row} for quantity, variants in curves.items() for row in reached(variants)]
    print(tables.markdown(rows, COLUMNS))


if __name__ == "__main__":
    main(sys.argv[1:])
