"""How fast the variants of a study learn: the validation RMSE by step, the steps that each needs to come within 1 % of
the control's plateau, and the test RMSE at the step of the best validation.
`python -m srkd.adapters.weather.learning results.json out.png` plots the curves and prints the table."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srkd.adapters.weather.scores import VALIDATION
from srkd.errors import SrkdError, exit_on_error
from srkd.files.atomic import printable_path, write_bytes
from srkd.report import plots, tables

Array = NDArray[np.float64]
MARGIN = 0.01
COLUMNS = ["quantity", "variant", "RMSE", "steps", "seeds that get there"]


@dataclass(frozen=True)
class Curves:
    """The RMSE of a variant for one quantity: `steps` (validations,), `validation` and `test` (seeds, validations)."""

    steps: Array
    validation: Array
    test: Array

    @property
    def plateau(self) -> Array:
        """(seeds,): the lowest validation RMSE of each."""
        return np.asarray(self.validation.min(1))

    @property
    def chosen(self) -> Array:
        """(seeds,): the test RMSE of each at the step of its lowest validation RMSE."""
        return np.asarray(self.test[np.arange(len(self.test)), self.validation.argmin(1)])

    def steps_to(self, target: Array) -> Array:
        """(seeds,): the first step of each with a validation RMSE of at most its target; NaN if there is none."""
        reached = self.validation <= target[:, None]
        return np.asarray(np.where(reached.any(1), self.steps[reached.argmax(1)], np.nan))


def read(path: Path) -> dict[str, dict[str, Curves]]:
    """Read a study's results.json: curves by quantity and variant, seeds in order.

    Raises:
        SrkdError: not the results of a weather study with validation examples and a control.
    """
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        found: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for run in sorted(runs, key=lambda run: run["seed"]):
            for name in run["curves"]:
                if name.startswith(VALIDATION):
                    quantity = name.removeprefix(VALIDATION).removesuffix("/rmse")
                    found.setdefault(quantity, {}).setdefault(run["variant"], []).append(run["curves"])
        curves = {q: {v: _curves(q, runs) for v, runs in variants.items()} for q, variants in found.items()}
        if not curves or any("control" not in variants for variants in curves.values()):
            raise ValueError("no validation RMSE of a variant control")
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise SrkdError(f"{printable_path(path)}: not the results of a weather study ({error})") from error
    return curves


def _curves(quantity: str, runs: list[dict[str, Any]]) -> Curves:
    steps = np.array([point[0] for point in runs[0][f"{VALIDATION}{quantity}/rmse"]], np.float64)
    validation, test = (
        np.array([[value for _, value in run[f"{before}{quantity}/rmse"]] for run in runs], np.float64)
        for before in (VALIDATION, "")
    )
    return Curves(steps, validation, test)


def targets(variants: Mapping[str, Curves]) -> Array:
    """(seeds,): 1 % above the plateau of the control of each seed."""
    return variants["control"].plateau * (1 + MARGIN)


def forecasts_needed(sizes: Array, errors: Array, reached: Array) -> Array:
    """The numbers of training forecasts with which a control reaches given errors: (seeds,), interpolated in the
    logarithm of the number; infinite where the largest number is not enough, the smallest where that is.

    Args:
        sizes: (k,), ascending.
        errors: (seeds, k), of the control trained with each number.
        reached: (seeds,).
    """
    needed = []
    for own, goal in zip(np.minimum.accumulate(errors, 1), reached, strict=True):
        at = int(np.argmax(own <= goal)) if (own <= goal).any() else len(sizes)
        if at in (0, len(sizes)):
            needed.append(float(sizes[0]) if at == 0 else np.inf)
            continue
        share = (own[at - 1] - goal) / (own[at - 1] - own[at])
        needed.append(float(sizes[at - 1] * (sizes[at] / sizes[at - 1]) ** share))
    return np.array(needed)


def plot(curves: dict[str, dict[str, Curves]], path: Path) -> None:
    """Plot the validation RMSE, mean (line) and standard deviation (band) over seeds, as PNG, a panel per quantity."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure, buffer = Figure(figsize=(4.2 * len(curves) + 1.5, 3.4), layout="constrained"), io.BytesIO()
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (quantity, variants) in zip(panels, curves.items(), strict=True):
        for number, (name, found) in enumerate(variants.items()):
            colour, mean = plots.COLOURS[number % len(plots.COLOURS)], found.validation.mean(0)
            deviation = found.validation.std(0, ddof=1) if len(found.validation) > 1 else np.zeros_like(mean)
            axes.plot(found.steps, mean, color=colour, label=name, linewidth=1.5)
            axes.fill_between(found.steps, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
        axes.axhline(targets(variants).mean(), color="#888888", linewidth=0.8, linestyle=":")
        axes.set(xlabel="step", ylabel=f"validation RMSE of {quantity}", xscale="log")
        # The large errors of the first steps would compress the rest of the plot.
        top = max(float(found.validation.mean(0).min()) for found in variants.values())
        axes.set_ylim(top=1.6 * top)
    panels[-1].legend(frameon=False, fontsize=8)
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.json of the study")
    parser.add_argument("image", type=Path, help="the PNG file to write")
    args = parser.parse_args(arguments)
    with exit_on_error("learning"):
        curves = read(args.results)
        plot(curves, args.image)
    rows = [
        {
            "quantity": quantity,
            "variant": name,
            "RMSE": f"{found.chosen.mean():.4f}",
            "steps": f"{np.nanmean(steps):.0f}" if np.isfinite(steps).any() else "never",
            "seeds that get there": f"{np.isfinite(steps).sum()} of {len(steps)}",
        }
        for quantity, variants in curves.items()
        for name, found in variants.items()
        for steps in [found.steps_to(targets(variants))]
    ]
    print(tables.markdown(rows, COLUMNS))


if __name__ == "__main__":
    main()
