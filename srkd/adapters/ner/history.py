"""Scores after each step of continual learning: `python -m srkd.adapters.ner.history results.json`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from srkd.adapters.ner.scores import forgetting
from srkd.errors import SrkdError, exit_on_error
from srkd.files.atomic import printable_path, write_bytes, write_text
from srkd.report import tables
from srkd.training.task import SetScores

# Column heading of each metric.
_COLUMNS = {
    "first": "first types",
    "micro_old": "old types",
    "micro_new": "new types",
    "micro": "all types",
    "macro": "all, macro",
    "forgetting": "forgetting",
}


def by_step(last: Path) -> dict[str, SetScores]:
    """Scores after each stage of a run up to the one in the folder `last`, as sets `step 1`, `step 2`, ...

    From step 2 on, `forgetting` (F1 points per type) is `scores.forgetting` over the steps so far.
    """
    match = re.fullmatch(r"stage_(\d+)", last.name)
    folders = [last.with_name(f"stage_{n}") for n in range(1, int(match[1]) + 1)] if match else [last]
    found = [dict(json.loads((f / "scores.json").read_text(encoding="utf-8")))["test"] for f in folders]
    for number in range(2, len(found) + 1):
        metrics = found[number - 1]["metrics"]
        metrics["forgetting"] = forgetting([s["metrics"]["macro"] for s in found[:number]])
    return {f"step {n}": scores for n, scores in enumerate(found, 1)}


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of `steps` of a study's results.json.

    Raises:
        SrkdError: not the results of a study by steps.
    """
    try:
        return steps(json.loads(path.read_text(encoding="utf-8"))["runs"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise SrkdError(f"{printable_path(path)}: not the results of a study by steps ({error})") from error


def steps(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per variant and step of the finished runs of a study: means over seeds, and SD with two or more seeds.

    Micro F1 (%) of `old types`, `new types`, `all types`; macro F1 (%) of `first types` (those of step 1) and
    `all, macro`; `forgetting` in points, mean over the old types.
    """
    rows = []
    for variant in dict.fromkeys(run["variant"] for run in runs):
        own = [run["scores"] for run in runs if run["variant"] == variant]
        for step in own[0]:
            row: dict[str, Any] = {"variant": variant, "step": int(step.split()[1]), "seeds": len(own)}
            found = [_values(scores, step) for scores in own]
            for metric in found[0]:
                values = [value[metric] for value in found]
                row[_COLUMNS[metric]] = float(np.mean(values))
                if len(values) > 1:
                    row[f"{_COLUMNS[metric]} SD"] = float(np.std(values, ddof=1))
            rows.append(row)
    return rows


def _values(scores: Mapping[str, SetScores], step: str) -> dict[str, float]:
    """Value of each metric of `_COLUMNS` of one run after a step."""
    metrics = scores[step]["metrics"]
    first = {name: metrics["macro"][name] for name in scores["step 1"]["metrics"]["macro"]}
    items = {"first": first, **metrics}
    return {name: float(np.mean(list(items[name].values()))) for name in _COLUMNS if name in items}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `steps` as a Markdown table, mean ± SD."""
    headings = [heading for heading in _COLUMNS.values() if any(heading in row for row in rows)]
    printed = [{h: _cell(row, h) for h in ("variant", "step", "seeds", *headings) if h in row} for row in rows]
    return tables.markdown(printed, ["variant", "step", "seeds", *headings]) + "\n"


def _cell(row: Mapping[str, Any], heading: str) -> str:
    value, deviation = row[heading], row.get(f"{heading} SD")
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}" + (f" ± {deviation:.1f}" if deviation is not None else "")


def plot(rows: Sequence[Mapping[str, Any]], types: str, path: Path) -> None:
    """Plot F1 by step as PNG, one line per variant; `types` is a column of `table`, for example "all types"."""
    from srkd.report import plots

    series = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant and types in row]
        series.append({"label": variant, "x": [row["step"] for row in own], "y": [row[types] for row in own]})
    write_bytes(path, plots.draw(plots.curves(series, "step", f"F1 of {types} (%)"), "png"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write steps.md and the plots first_types.png and all_types.png into the folder of a study's results.json."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("results", type=Path, help="results.json of a study")
    results = parser.parse_args(arguments).results
    with exit_on_error("history"):
        rows = read(results)
        write_text(results.with_name("steps.md"), table(rows))
        for types in ("first types", "all types"):
            plot(rows, types, results.with_name(f"{types.replace(' ', '_')}.png"))


if __name__ == "__main__":
    main()
