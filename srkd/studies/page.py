"""The HTML report of a study: tables, plots, outputs side by side, scores of every item, and the study itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from srkd.report import html, plots, sections
from srkd.report.html import Section
from srkd.studies.compare import Comparison
from srkd.training.recipe import dump


def page(comparison: Comparison, found: Mapping[str, Any], tables: Sequence[Section], lead: str) -> str:
    """The report of a result of `srkd.studies.comparison.summarise`, with `tables` first."""
    shown = [*tables, *_plots(found, comparison.study.lower), *_side_by_side(comparison, found), *_items(found)]
    shown.append({"heading": "Study", "recipe": dump(comparison.study)})
    return html.page(f"Study {found['study']}", shown, lead, "compare")


def _plots(found: Mapping[str, Any], lower: Sequence[str]) -> list[Section]:
    """The first score against training time, and every validation score over the steps."""
    shown: list[Section] = []
    if found["scores"] and found["scores"][0]["metric"] not in lower:
        first = found["scores"][0]
        seconds = {row["variant"]: row["seconds"] for row in found["costs"]}
        rows = [
            {
                "variant": row["variant"],
                "training time (s)": seconds.get(row["variant"]),
                first["metric"]: row.get("mean"),
            }
            for row in first["rows"]
        ]
        caption = f"Means over seeds, on {first['set']}."
        shown += sections.pareto(rows, ["variant"], "training time (s)", first["metric"], caption)
    for score, series in found["curves"].items():
        plot = {**plots.curves(series, "step", score), "caption": "Mean over seeds, while training."}
        shown.append({"heading": f"{score} over steps", "plot": plot})
    return shown


def _side_by_side(comparison: Comparison, found: Mapping[str, Any]) -> list[Section]:
    """Outputs of each variant's network of the first seed, if no run is missing and the networks exist."""
    networks: dict[str, str] = {}
    for variant in comparison.study.variants:
        seed = comparison.folder / variant.name / f"seed_{comparison.study.seeds[0]}"
        files = sorted(seed.glob("models/net_g*_latest.*")) or sorted(seed.glob("stage_*/models/net_g*_latest.*"))
        if files:
            networks[variant.name] = str(files[-1])
    if found["missing"] or not networks:
        return []
    return comparison.task_type.comparison_sections(networks, comparison.study.sets)


def _items(found: Mapping[str, Any]) -> list[Section]:
    """For each set and metric, the scores of every item by variant, averaged over seeds."""
    shown: list[Section] = []
    for table in found["scores"]:
        name, metric, rows = table["set"], table["metric"], dict[str, dict[str, Any]]()
        variants = [row["variant"] for row in table["rows"] if row["seeds"]]
        for variant in variants:
            runs = [
                run["scores"][name]["metrics"][metric]
                for run in found["runs"]
                if run["variant"] == variant and name in run["scores"]
            ]
            for item in runs[0]:
                row = rows.setdefault(item, {"item": item, "protocol": table["protocol"]})
                row[variant] = round(float(np.mean([run[item] for run in runs if item in run])), 4)
        if len(rows) > 1:
            columns = ["item", *variants]
            shown.append(
                {
                    "heading": f"Every item: {metric} on {name}",
                    "table": {"rows": list(rows.values()), "columns": columns},
                }
            )
    return shown
