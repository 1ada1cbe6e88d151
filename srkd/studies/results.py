"""Results of a study: statistics of its finished runs as JSON, Markdown and an HTML report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from srkd.files.atomic import write_json, write_text
from srkd.report import html, plots, sections, tables
from srkd.report.html import PageSection
from srkd.studies.runs import Comparison
from srkd.studies.statistics import MIN_SEEDS
from srkd.studies.verdicts import Results, lower_metrics, score_tables
from srkd.training.recipe import dump

COLUMNS = [
    "variant",
    "seeds",
    "mean",
    "SD",
    "difference",
    "low",
    "high",
    "p",
    "p (Holm)",
    "p (exact)",
    "verdict",
    "note",
]
COSTS = ["variant", "runs", "seconds", "extra parameters"]
TERMS = ["variant", "term", "gradient share", "cosine"]
HEALTH = ["variant", "seed", "network", "accuracy", "problem"]


def summarise(comparison: Comparison) -> dict[str, Any]:
    """The results as plain data.

    Returns:
        {"study", "alpha", "lower": metrics for which lower is better, "scores": see `score_tables`, "costs": rows,
        "terms": rows, "health": rows, "curves": by name, "failed": rows, "missing": number of runs not finished,
        "runs": all finished runs, seed by seed}.
    """
    study = comparison.study
    found = {v.name: {seed: comparison.result(v.name, seed) for seed in study.seeds} for v in study.variants}
    finished: Results = {
        name: {seed: run for seed, run in runs.items() if run and run["status"] == "finished"}
        for name, runs in found.items()
    }
    lower = lower_metrics(finished, study.lower)
    all_runs = [run for runs in finished.values() for run in runs.values()]
    failed = [
        {key: run[key] for key in ("variant", "seed", "error")}
        for runs in found.values()
        for run in runs.values()
        if run and run["status"] == "failed"
    ]
    return {
        "study": study.name,
        "alpha": study.alpha,
        "lower": lower,
        "scores": score_tables(finished, study.alpha, lower, failed_seeds(failed)),
        "costs": [_cost(name, runs) for name, runs in finished.items() if runs],
        "terms": [row for name, runs in finished.items() for row in _terms(name, runs)],
        "health": [
            {"variant": run["variant"], "seed": run["seed"], **row} for run in all_runs for row in run.get("health", ())
        ],
        "curves": _curves(finished),
        "failed": failed,
        "missing": sum(len(runs) for runs in found.values()) - len(all_runs),
        "runs": all_runs,
    }


def failed_seeds(rows: Sequence[Mapping[str, Any]]) -> dict[str, set[int]]:
    """By variant, from the rows of "failed"."""
    found: dict[str, set[int]] = {}
    for row in rows:
        found.setdefault(row["variant"], set()).add(row["seed"])
    return found


def _cost(variant: str, runs: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "variant": variant,
        "runs": len(runs),
        # the median: a run on a machine that was busy with other work takes up to twice the time
        "seconds": round(float(np.median([run["seconds"] for run in runs.values()])), 1),
        "extra parameters": next(iter(runs.values()))["extra_parameters"],
    }


def _terms(variant: str, runs: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for term in dict.fromkeys(term for run in runs.values() for term in run["terms"]):
        row: dict[str, Any] = {"variant": variant, "term": term}
        for key, column in (("share", "gradient share"), ("cosine", "cosine")):
            values = [run["terms"][term][key] for run in runs.values() if key in run["terms"].get(term, {})]
            if values:
                row[column] = round(float(np.mean(values)), 4)
        rows.append(row)
    return rows


def _curves(finished: Results) -> dict[str, list[dict[str, Any]]]:
    """For each validation score, a curve per variant: means over its seeds at the steps common to all of them."""
    curves: dict[str, list[dict[str, Any]]] = {}
    for variant, runs in finished.items():
        for score in dict.fromkeys(name for run in runs.values() for name in run["curves"]):
            lines = [dict(run["curves"].get(score, [])) for run in runs.values()]
            steps = sorted(set(lines[0]).intersection(*lines))
            if len(steps) > 1:
                values = [float(np.mean([line[step] for line in lines])) for step in steps]
                curves.setdefault(score, []).append({"label": variant, "x": steps, "y": values})
    return curves


def write(comparison: Comparison, recorded: Path | None = None) -> dict[str, Any]:
    """Write results.json, results.md and report.html into the study's folder; returns the result of `summarise`.

    Args:
        recorded: a results file to write as well, first. Runs that another command has added to it in the meantime are
            kept.
    """
    if recorded is not None:
        comparison.read_recorded(recorded)
    found = summarise(comparison)
    if recorded is not None:
        write_tables(recorded, found)
    write_tables(comparison.folder / "results.json", found)
    write_text(comparison.folder / "report.html", _page(comparison, found))
    return found


def write_tables(path: Path, found: Mapping[str, Any]) -> None:
    """Write results as JSON, and their tables as Markdown next to it."""
    write_json(path, found)
    write_text(path.with_suffix(".md"), markdown(found))


def _tables(found: Mapping[str, Any]) -> list[PageSection]:
    shown: list[PageSection] = [
        {
            "heading": f"{table['metric']} on {table['set']}",
            "table": {"rows": [printed(row) for row in table["rows"]], "columns": _present(table["rows"])},
        }
        for table in found["scores"]
    ]
    for heading, key, columns in (
        ("Cost", "costs", COSTS),
        ("Gradients", "terms", TERMS),
        ("Health", "health", HEALTH),
        ("Failed", "failed", ["variant", "seed", "error"]),
    ):
        rows = found.get(key, [])
        columns = [column for column in columns if any(column in row for row in rows)]
        if rows:
            shown.append({"heading": heading, "table": {"rows": rows, "columns": columns}})
    return shown


_NAMES = {"p_holm": "p (Holm)", "p_exact": "p (exact)"}


def printed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of scores as displayed: keyed by column heading, numbers as text."""
    rounded = {key: _rounded(key, value) if isinstance(value, float) else value for key, value in row.items()}
    return {_NAMES.get(key, key): value for key, value in rounded.items()}


def _rounded(key: str, value: float) -> str:
    return f"{value:.0e}" if key.startswith("p") and 0 < value < 5e-5 else f"{value:.4f}"


def _present(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = [printed(row) for row in rows]
    return [column for column in COLUMNS if any(column in row for row in shown)]


def _lead(found: Mapping[str, Any]) -> str:
    failed = len(found.get("failed", ()))
    counts = {"failed": failed, "are not finished": found["missing"] - failed}
    missing = "".join(f" {count} run(s) {what}." for what, count in counts.items() if count)
    return (
        "Each variant against the control: same seed, same items, whose scores are averaged to one difference per "
        "seed. Low and high are its t interval over seeds, at the level that Holm's correction over the variants "
        f"leaves of {found['alpha']:g}, for each set and metric; p is the paired t test's, p (exact) the sign-flip "
        f"test's, both uncorrected. Fewer than {MIN_SEEDS} seeds give no verdict, whatever the interval.{missing}"
    )


def markdown(found: Mapping[str, Any]) -> str:
    """The tables of a result of `summarise` as one Markdown page."""
    parts = [f"# Study {found['study']}", _lead(found)]
    for section in _tables(found):
        table = section["table"]
        parts += [f"## {section['heading']}", tables.markdown(table["rows"], table["columns"])]
    return "\n\n".join(parts) + "\n"


def text(path: Path, found: Mapping[str, Any]) -> str:
    """The tables for a terminal, and the paths of the files."""
    parts = []
    for section in _tables(found):
        parts += [section["heading"], tables.text(section["table"]["rows"], section["table"]["columns"]), ""]
    return "\n".join([*parts, f"{path}/results.json, results.md, report.html"])


def _page(comparison: Comparison, found: Mapping[str, Any]) -> str:
    """The HTML report: tables, plots, outputs side by side, scores of every item, and the study itself."""
    shown = [*_tables(found), *_plots(found), *_side_by_side(comparison, found), *_items(found)]
    shown.append({"heading": "Study", "recipe": dump(comparison.study)})
    return html.page(f"Study {found['study']}", shown, _lead(found), "compare")


def _plots(found: Mapping[str, Any]) -> list[PageSection]:
    """The first score against training time, and every validation score over the steps."""
    shown: list[PageSection] = []
    if found["scores"] and found["scores"][0]["metric"] not in found["lower"]:
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


def _side_by_side(comparison: Comparison, found: Mapping[str, Any]) -> list[PageSection]:
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


def _items(found: Mapping[str, Any]) -> list[PageSection]:
    """For each set and metric, the scores of every item by variant, averaged over seeds."""
    shown: list[PageSection] = []
    for table in found["scores"]:
        name, metric, rows = table["set"], table["metric"], dict[str, dict[str, Any]]()
        variants = [row["variant"] for row in table["rows"] if row["seeds"]]
        for variant in variants:
            runs = [
                scores["metrics"][metric]
                for run in found["runs"]
                if run["variant"] == variant and (scores := run["scores"].get(name)) and metric in scores["metrics"]
                if scores["protocol"] == table["protocol"]
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
