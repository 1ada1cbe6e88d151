"""Compute the verdicts of existing results again from the runs recorded in them, without training or run folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.studies import results
from srkd.studies.recorded import read_results
from srkd.studies.verdicts import Results, lower_metrics, score_tables
from srkd.training import recipe as recipes

COLUMNS = [
    "results",
    "set",
    "metric",
    "variant",
    "seeds",
    "before",
    "now",
    "difference",
    "low",
    "high",
    "p",
    "p (exact)",
]
_SUFFIX = "results.json"


def results_files(target: Path) -> list[Path]:
    """The file itself, or every `*results.json` below a folder.

    Raises:
        SrkdError: none found.
    """
    found = sorted(target.rglob(f"*{_SUFFIX}")) if target.is_dir() else [target] if target.is_file() else []
    if not found:
        raise SrkdError(
            f"{printable_path(target)}: no results of a study found; give a results.json or a folder with such files"
        )
    return found


def rejudge(path: Path) -> list[dict[str, Any]]:
    """Compute the verdicts of one file again; rewrites its statistics and the Markdown file next to it.

    Returns:
        Rows of `COLUMNS`: all verdicts whose text changed.

    Raises:
        SrkdError: the file is not the result of a study, or the metrics for which lower is better are unknown.
    """
    found = read_results(path)
    runs: Results = {row["variant"]: {} for table in found["scores"] for row in table["rows"]}
    for run in found["runs"]:
        runs.setdefault(run["variant"], {})[run["seed"]] = run
    lower = lower_metrics(runs, found["lower"] if "lower" in found else _lower(path))
    judged: dict[str, Any] = {}
    for key, value in found.items():
        judged[key] = value
        if key == "alpha":
            judged["lower"] = lower
    judged["scores"] = score_tables(runs, found["alpha"], lower, results.failed_seeds(found.get("failed", [])))
    results.write_tables(path, judged)
    return _changes(path, found, judged)


def _lower(path: Path) -> list[str]:
    """The metrics for which lower is better, from the study next to results that do not record them: `a.yml` for
    `a_results.json`, `study.yml` for `results.json`."""
    study = path.with_name(f"{path.name.removesuffix(_SUFFIX).rstrip('_') or 'study'}.yml")
    if not study.is_file():
        raise SrkdError(
            f"{printable_path(path)}: does not record for which metrics lower is better, and {study.name} is not "
            "next to it; put the study there"
        )
    return list(recipes.read(study).get("lower", []))


def _changes(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    old = {
        (*_named(table), row["variant"]): row.get("verdict", "-") for table in before["scores"] for row in table["rows"]
    }
    rows = []
    for table in now["scores"]:
        for row in map(results.printed, table["rows"]):
            # Earlier versions did not name a table's protocol.
            keys = [(*_named(table), row["variant"]), (table["set"], table["metric"], None, row["variant"])]
            verdict = next((old[key] for key in keys if key in old), "-")
            if row.get("verdict", "-") != verdict:
                change = {
                    "results": str(path),
                    "set": table["set"],
                    "metric": table["metric"],
                    "before": verdict,
                    "now": row.get("verdict", "-"),
                }
                rows.append(change | {key: row[key] for key in COLUMNS if key in row})
    return rows


def _named(table: Mapping[str, Any]) -> tuple[str, str, str | None]:
    return table["set"], table["metric"], table.get("protocol")
