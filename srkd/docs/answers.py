"""Answers of a study's page, written from its results: what is known, and what is missing as long as runs are missing.

A study's recipe and results are files next to the page: `./final.yml`, `./final_results.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from srkd.docs.sources import Sources
from srkd.errors import SrkdError
from srkd.studies.plan import CONTROL
from srkd.studies.statistics import NOT_SHOWN

_MIXED = "Not the same on every set"
_GROUPS = {"better": "Better than the control", NOT_SHOWN: "No difference shown", "worse": "Worse than the control"}


def helps(sources: Sources, words: Sequence[str]) -> str:
    """`helps QUESTION recipe results metric set...`: which variants differ from the control on all sets, by how much,
    of those whose runs are all finished; and which runs are missing."""
    question, recipe, results, metric, *sets = words
    found = study_results(sources, results)
    left = _left(sources, recipe, found)
    missing, whole = missing_runs(sources, recipe, found), [name for name, count in left.items() if not count]
    if CONTROL not in whole or len(whole) < 2:
        return f"**{question}** Not known yet: {missing}."
    rows = {name: _rows(found, name, metric) for name in sets}
    groups: dict[str, list[str]] = {}
    for variant in (name for name in rows[sets[0]] if name in whole and name != CONTROL):
        own = [rows[name][variant] for name in sets]
        verdicts = {row["verdict"] for row in own}
        label = _label(verdicts.pop(), own[0]["seeds"]) if len(verdicts) == 1 else _MIXED
        gains = [
            f"{row['difference']:+.2f} on {name}" + f" ({row['verdict']})" * (label == _MIXED)
            for row, name in zip(own, sets, strict=True)
        ]
        groups.setdefault(label, []).append(f"`{variant}` {', '.join(gains)}")
    parts = [f"{label}: {'; '.join(groups[label])}." for label in (*_GROUPS.values(), *groups) if label in groups]
    return f"**{question}** {' '.join(dict.fromkeys(parts))}{_so_far(missing)}"


def claim(sources: Sources, words: Sequence[str]) -> str:
    """`claim QUESTION recipe results variant metric set...`: whether a variant is best and better, on all sets. While
    runs are missing, only `No` is an answer: another variant is better, or the control is not worse."""
    question, recipe, results, variant, metric, *sets = words
    found = study_results(sources, results)
    left, missing = _left(sources, recipe, found), missing_runs(sources, recipe, found)
    best, verdicts, texts = True, set[str](), list[str]()
    for name in sets if not left[CONTROL] and not left[variant] else ():
        rows = {other: row for other, row in _rows(found, name, metric).items() if not left[other]}
        order = sorted((row["mean"] for row in rows.values()), reverse=metric not in found["lower"])
        rank, verdict = order.index(rows[variant]["mean"]) + 1, rows[variant]["verdict"]
        best, verdicts = best and rank == 1 and verdict == "better", verdicts | {verdict}
        texts.append(f"on {name} `{variant}` is number {rank} of {len(order)} and, against the control, {verdict}")
    if not texts or (missing and best):
        return f"**{question}** Not known yet: {'; '.join([*texts, missing])}."
    answer = "No verdict" if verdicts - _GROUPS.keys() else "Yes" if best else "No"
    return f"**{question}** {answer}: {'; '.join(texts)}.{_so_far(missing)}"


def equal(sources: Sources, words: Sequence[str]) -> str:
    """`equal QUESTION file`: the rows of `srkd.studies.equal` as one sentence each, or that they are missing."""
    question, file = words
    try:
        rows = sources.value(f"{file}#")
    except SrkdError:
        return f"**{question}** Not known yet: `{file.removeprefix('./')}` is not written."
    texts = [
        f"{row['metric']} on {row['set']} {_signed(row.get('difference'))}({row['verdict']}"
        + (f"; {row['outside']} of {row['seeds']} seeds outside the controls' range)" if row["outside"] else ")")
        for row in rows
    ]
    return f"**{question}** {'; '.join(texts)}."


def _signed(difference: float | None) -> str:
    return "" if difference is None else f"{difference:+.4f} "


def when(sources: Sources, words: Sequence[str]) -> str:
    """`when file TEXT`: the text if the JSON or YAML file exists, else nothing."""
    file, text = words
    try:
        sources.value(f"{file}#")
    except SrkdError:
        return ""
    return text


def study_results(sources: Sources, file: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = sources.value(f"{file}#")
    except SrkdError:
        return {"runs": [], "scores": [], "lower": []}
    return found


def _rows(found: Mapping[str, Any], name: str, metric: str) -> dict[str, Mapping[str, Any]]:
    tables = [table for table in found["scores"] if (table["set"], table["metric"]) == (name, metric)]
    return {row["variant"]: row for row in tables[0]["rows"]} if tables else {}


def _label(verdict: str, seeds: int) -> str:
    return _GROUPS.get(verdict, f"Differences without a verdict ({seeds} seeds)")


def missing_runs(sources: Sources, recipe: str, found: Mapping[str, Any]) -> str:
    """How many of the recipe's runs are not finished, and which; empty if none."""
    left = _left(sources, recipe, found)
    total, count = len(left) * len(sources.value(f"{recipe}#")["seeds"]), sum(left.values())
    if not count:
        return ""
    if count == total:
        return f"none of the {total} runs of `{recipe.removeprefix('./')}` is finished"
    which = ", ".join(f"`{name}` {number}" for name, number in left.items() if number)
    return f"{count} of {total} runs of `{recipe.removeprefix('./')}` are missing ({which})"


def _left(sources: Sources, recipe: str, found: Mapping[str, Any]) -> dict[str, int]:
    """The number of unfinished runs of each of the recipe's variants, the control first."""
    study = sources.value(f"{recipe}#")
    done = {(run["variant"], run["seed"]) for run in found["runs"]}
    variants = list(dict.fromkeys([CONTROL, *(variant["name"] for variant in study["variants"])]))
    return {name: sum((name, seed) not in done for seed in study["seeds"]) for name in variants}


def _so_far(missing: str) -> str:
    return f" So far: {missing}." if missing else ""


ANSWERS: dict[str, Callable[[Sources, Sequence[str]], str]] = {
    "helps": helps,
    "claim": claim,
    "equal": equal,
    "when": when,
}
