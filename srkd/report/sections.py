"""Sections shared by the reports of several commands, from the plain data that these write."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from srkd.report import plots
from srkd.report.html import PageSection
from srkd.report.tables import sort_value

Records = Sequence[Mapping[str, Any]]
# Key prefix in metrics.jsonl: (heading, y axis label, logarithmic axis).
_LOGGED = {
    "l_": ("Losses", "loss", True),
    "grad/": ("Gradients", "gradient norm", True),
    "cos/": ("Directions", "cosine to the task's gradient", False),
}


def training(records: Records) -> list[PageSection]:
    """Curves of a run: its losses, its validation scores, and its gradients where they were monitored.

    Args:
        records: the lines of its metrics.jsonl.
    """
    sections: list[PageSection] = []
    for prefix, (heading, y, log) in _LOGGED.items():
        series = _series(records, prefix)
        # A loss may be negative, such as a log-likelihood, which a logarithmic axis cannot show.
        log = log and all(value > 0 for line in series for value in line["y"])
        if series:
            sections.append({"heading": heading, "plot": plots.curves(series, "step", y, log)})
    by_metric: dict[str, list[dict[str, Any]]] = {}
    for line in _series(records, "val/"):
        name = line["label"].rpartition("/")[2]  # a cohort's scores start with the network's name
        by_metric.setdefault(name.partition("_")[0], []).append(line)
    for metric, lines in by_metric.items():
        y = lines[0]["label"] if len(lines) == 1 else metric
        # A single validation is not a curve; its value is in the tables.
        if any(len(line["x"]) > 1 for line in lines):
            sections.append({"heading": f"{y} while training", "plot": plots.curves(lines, "step", y)})
    return sections


def _series(records: Records, prefix: str) -> list[dict[str, Any]]:
    series: dict[str, dict[str, Any]] = {}
    for record in records:
        for key, value in record.items():
            if key.startswith(prefix) and isinstance(value, (int, float)):
                label = key.removeprefix(prefix)
                line = series.setdefault(label, {"label": label, "x": [], "y": []})
                line["x"].append(record["step"])
                line["y"].append(value)
    return list(series.values())


def items(scores: Mapping[str, Mapping[str, Any]]) -> list[PageSection]:
    """A table of the scores of all items for each set.

    Args:
        scores: {set: {"protocol", "metrics": {metric: {item: score}}}}.
    """
    sections: list[PageSection] = []
    for name, found in scores.items():
        metrics = found["metrics"]
        each = dict.fromkeys(item for values in metrics.values() for item in values)
        rows = [
            {
                "item": item,
                **{m: _rounded(values.get(item)) for m, values in metrics.items()},
                "protocol": found["protocol"],
            }
            for item in each
        ]
        if rows:
            sections.append({"heading": f"Scores on {name}", "table": {"rows": rows, "columns": ["item", *metrics]}})
    return sections


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def pareto(
    rows: Sequence[Mapping[str, Any]], label: Sequence[str], x: str, y: str, caption: str = ""
) -> list[PageSection]:
    """A plot of quality against cost as a section; [] if fewer than two rows have both, as finite numbers.

    Args:
        rows: with numbers, or text that reads as a number, in the columns `x` and `y`.
        label: the columns that together name a row.
    """
    points = []
    for row in rows:
        cost, quality = sort_value(row.get(x)), sort_value(row.get(y))
        if cost is not None and quality is not None and 0 < cost < math.inf and math.isfinite(quality):
            points.append({"label": " ".join(str(row[key]) for key in label), "x": cost, "y": quality})
    if len(points) < 2:
        return []
    return [{"heading": f"{y} against {x}", "plot": {**plots.pareto(points, x, y), "caption": caption}}]
