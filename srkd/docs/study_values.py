"""Values computed from a study's results JSON (scores of each seed, epochs, steps), and how values are formatted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from srkd.adapters.ner import history
from srkd.adapters.weather import learning
from srkd.errors import SrkdError
from srkd.studies.statistics import compare, t_interval, t_test


def _seeds(path: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """{set: {metric: {variant: array (seeds,)}}}: each seed's mean over items, in the order of seeds."""
    found: dict[str, Any] = {}
    for run in sorted(results["runs"], key=lambda run: run["seed"]):
        for name, scores in run.get("scores", {}).items():
            for metric, items in scores["metrics"].items():
                means = found.setdefault(name, {}).setdefault(metric, {}).setdefault(run["variant"], [])
                means.append(float(np.mean(list(items.values()))))
    return {
        name: {metric: {v: np.array(means) for v, means in variants.items()} for metric, variants in metrics.items()}
        for name, metrics in found.items()
    }


def _learning(path: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """{quantity: rows} of the weather adapter, as `_learned`."""
    found = learning.read(path)
    return {quantity: _learned(variants, results["alpha"]) for quantity, variants in found.items()}


def _learned(variants: Mapping[str, learning.Curves], alpha: float) -> list[dict[str, Any]]:
    """A row per variant: its test RMSE at the best validation as in a study's scores ("mean", "SD", "difference", ...),
    "steps" to 1 % above the control's plateau, "share" of the control's steps with its 95 % interval, "reached", and
    "forecasts": the number of true forecasts with which the variants `control_<number>` have the same RMSE."""
    control, goals = variants["control"], learning.targets(variants)
    effects = compare(
        {name: found.chosen - control.chosen for name, found in variants.items() if name != "control"}, alpha, True
    )
    rows = []
    for name, found in variants.items():
        steps, chosen = found.steps_to(goals), found.chosen
        missed = int(np.isnan(steps).sum())
        row: dict[str, Any] = {
            "variant": name,
            "seeds": len(steps),
            "reached": f"{len(steps) - missed} of {len(steps)}",
        }
        row |= {"mean": float(chosen.mean()), "SD": float(chosen.std(ddof=1)), "each": chosen}
        row |= (
            {key: value for key, value in vars(effects[name]).items() if value is not None} if name in effects else {}
        )
        row["steps"] = "-" if missed else f"{steps.mean():,.0f}"
        row["share"] = "-" if missed or name == "control" else _share(np.log(steps / control.steps_to(goals)))
        row["forecasts"] = _forecasts(variants, found)
        rows.append(row)
    return rows


def _forecasts(variants: Mapping[str, learning.Curves], found: learning.Curves) -> str:
    """Geometric mean over seeds, and the range."""
    sizes = sorted(int(name.removeprefix("control_")) for name in variants if name.startswith("control_"))
    if not sizes:
        return "-"
    errors = np.stack([variants[f"control_{size}"].chosen for size in sizes], 1)
    needed = learning.forecasts_needed(np.array(sizes, np.float64), errors, found.chosen)
    if not np.isfinite(needed).all():
        return f"more than {sizes[-1]}"
    return f"{np.exp(np.log(needed).mean()):.0f} ({needed.min():.0f} to {needed.max():.0f})"


def _share(logarithms: Any) -> str:
    """The geometric mean of ratios with its 95 % t interval, in per cent."""
    low, high = t_interval(logarithms, 0.05)
    return f"{np.exp(logarithms.mean()):.0%} ({np.exp(low):.0%} to {np.exp(high):.0%})"


def _steps(path: Path, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of `srkd.adapters.ner.history.steps`, a mean as {"mean", "SD"}."""
    rows = history.steps(results["runs"])
    return [
        {key: {"mean": value, "SD": row[f"{key} SD"]} if f"{key} SD" in row else value for key, value in row.items()}
        for row in rows
    ]


# Keys of a results file that are computed from its runs.
COMPUTED: dict[str, Callable[[Path, Mapping[str, Any]], Any]] = {
    "seeds": _seeds,
    "learning": _learning,
    "steps": _steps,
}


def _number(value: float, form: str) -> str:
    """Format without a percent sign, which is in the text or the heading."""
    return format(value, form).removesuffix("%")


def _mean(value: Any, form: str) -> str:
    if isinstance(value, np.ndarray):
        return _number(value.mean(), form)
    return f"{_number(value['mean'], form)} ± {_number(value['SD'], form)}"


def _difference(value: Any, form: str) -> str:
    """`+0.12 (-0.01 to +0.25)` for a study's row, a dash for the control."""
    if value.get("difference") is None:
        return "-"
    numbers = [_number(value[key], f"+{form}") for key in ("difference", "low", "high") if value.get(key) is not None]
    return numbers[0] + (f" ({numbers[1]} to {numbers[2]})" if len(numbers) == 3 else "")


def _each(value: Any, form: str) -> str:
    numbers = [_number(number, form) for number in value]
    return f"{', '.join(numbers[:-1])} and {numbers[-1]}" if len(numbers) > 1 else numbers[0]


def _range(value: Any, form: str) -> str:
    return f"{_number(min(value), form)} to {_number(max(value), form)}"


def _p(value: Any, form: str) -> str:
    """Uncorrected p of the paired t test: of a study's row, or of an array of differences per seed."""
    p = t_test(value) if isinstance(value, np.ndarray) else value.get("p")
    return "-" if p is None else format(p, form or ".2g")


def _ssim(value: Any, form: str) -> str:
    return f"{value:+.4f}".replace("0.", ".") if form == "+" else f"{value:.4f}".removeprefix("0")


FORMS: dict[str, Callable[[Any, str], str]] = {
    "mean": _mean,
    "difference": _difference,
    "each": _each,
    "range": _range,
    "p": _p,
    "ssim": _ssim,
}


def written(value: Any, form: str) -> str:
    """Format a value by a Python format, or by a name of `FORMS` and the format of its numbers.

    Raises:
        SrkdError: the value does not have that format.
    """
    name, _, numbers = form.partition(" ")
    try:
        return FORMS[name](value, numbers) if name in FORMS else format(value, form)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SrkdError(f'{_short(value)} cannot be written as "{form}"') from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
