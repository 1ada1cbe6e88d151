"""Judge existing results anew, by the runs recorded in them: nothing is trained, no run's folder is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path, write_json, write_text
from srkd.studies import comparison
from srkd.studies.verdicts import Results, score_tables
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
        SrkdError: nothing there.
    """
    found = sorted(target.rglob(f"*{_SUFFIX}")) if target.is_dir() else [target] if target.is_file() else []
    if not found:
        raise SrkdError(
            f"{printable_path(target)}: no results of a study there; give a results.json or a folder that has some"
        )
    return found


def rejudge(path: Path) -> list[dict[str, Any]]:
    """Judge one file anew: rewrite it and the Markdown beside it, whose other parts stay as they are.

    Returns:
        Rows of `COLUMNS`: every verdict whose words changed.

    Raises:
        SrkdError: not the results of a study, or nothing says of which metrics lower is better.
    """
    found = _read(path)
    runs: Results = {row["variant"]: {} for table in found["scores"] for row in table["rows"]}
    for run in found["runs"]:
        runs.setdefault(run["variant"], {})[run["seed"]] = run
    lower = found["lower"] if "lower" in found else _lower(path)
    judged: dict[str, Any] = {}
    for key, value in found.items():
        judged[key] = value
        if key == "alpha":
            judged["lower"] = lower
    judged["scores"] = score_tables(runs, found["alpha"], lower)
    write_json(path, judged)
    write_text(path.with_suffix(".md"), comparison.markdown(judged))
    return _changes(path, found, judged)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        missing = {"study", "alpha", "scores", "runs"} - found.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise SrkdError(f"{printable_path(path)}: not the results of a study ({error})") from error
    if missing:
        raise SrkdError(f"{printable_path(path)}: not the results of a study: no {', '.join(sorted(missing))} in it")
    return dict(found)


def _lower(path: Path) -> list[str]:
    """Of which metrics lower is better, from the study beside results that don't record it: `a.yml` for
    `a_results.json`, `study.yml` for `results.json`."""
    study = path.with_name(f"{path.name.removesuffix(_SUFFIX).rstrip('_') or 'study'}.yml")
    if not study.is_file():
        raise SrkdError(
            f"{printable_path(path)}: does not record which metrics are better when lower, and {study.name} is not "
            "beside it; put the study there"
        )
    return list(recipes.read(study).get("lower", []))


def _changes(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    old = {
        (table["set"], table["metric"], row["variant"]): row.get("verdict", "-")
        for table in before["scores"]
        for row in table["rows"]
    }
    rows = []
    for table in now["scores"]:
        for row in map(comparison.printed, table["rows"]):
            verdict = old.get((table["set"], table["metric"], row["variant"]), "-")
            if row.get("verdict", "-") != verdict:
                said = {
                    "results": str(path),
                    "set": table["set"],
                    "metric": table["metric"],
                    "before": verdict,
                    "now": row.get("verdict", "-"),
                }
                rows.append(said | {key: row[key] for key in COLUMNS if key in row})
    return rows
