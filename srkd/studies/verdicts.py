"""Tables of scores from the records of a study's runs: means, paired differences to the control, verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from srkd.metrics.registry import lower_is_better
from srkd.studies.plan import CONTROL
from srkd.studies.statistics import Array, compare

Results = dict[str, dict[int, dict[str, Any]]]  # finished runs by variant and seed
Seeds = Mapping[str, set[int]]  # by variant
Scores = Mapping[int, Mapping[str, float]]  # by seed and item
_SIGNED = {"bias": "no verdict: 0 is best"}


def score_tables(
    runs: Results, alpha: float, lower: Iterable[str] = (), failed: Seeds | None = None
) -> list[dict[str, Any]]:
    """For each set, metric and protocol {"set", "metric", "protocol", "rows"}; the first row is the control's.

    Args:
        runs: each with `scores`: by set, {"metrics": by metric and item, "protocol"}, and perhaps `health`: rows, whose
            `problem` is noted in the variant's rows.
        alpha: probability of any false verdict among the variants, for each set and metric.
        lower: metrics for which lower is better.
        failed: seeds whose training failed. As a score of NaN, they leave their variant without a verdict.
    """
    kinds = {
        (name, metric, scores["protocol"]): None
        for own in runs.values()
        for run in own.values()
        for name, scores in run["scores"].items()
        for metric in scores["metrics"]
    }
    problems = {variant: _problems(own) for variant, own in runs.items()}
    tables = []
    for name, metric, protocol in kinds:
        scores = {
            variant: {
                seed: found["metrics"][metric]
                for seed, run in own.items()
                if (found := run["scores"].get(name)) and found["protocol"] == protocol and metric in found["metrics"]
            }
            for variant, own in runs.items()
        }
        rows = _rows(scores, alpha, metric in set(lower), problems, failed or {})
        rows = [{**row, "protocol": protocol} for row in rows]
        if metric in _SIGNED:
            rows = [row | ({"verdict": _SIGNED[metric]} if "verdict" in row else {}) for row in rows]
        tables.append({"set": name, "metric": metric, "protocol": protocol, "rows": rows})
    return tables


def lower_metrics(runs: Results, listed: Iterable[str]) -> list[str]:
    """The metrics for which lower is better: those listed by the study, and those of the table of metrics."""
    found = {
        metric: None
        for own in runs.values()
        for run in own.values()
        for scores in run["scores"].values()
        for metric in scores["metrics"]
    }
    return list(dict.fromkeys([*listed, *filter(lower_is_better, found)]))


def _problems(runs: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Notes such as `saturated: net_d_0 of seed 3`, one per problem."""
    found: dict[str, list[str]] = {}
    for seed, run in sorted(runs.items()):
        for row in run.get("health", ()):
            if "problem" in row:
                found.setdefault(row["problem"], []).append(f"{row['network']} of seed {seed}")
    return [f"{problem}: {', '.join(where)}" for problem, where in found.items()]


def _rows(
    scores: Mapping[str, Scores], alpha: float, lower: bool, problems: Mapping[str, Sequence[str]], failed: Seeds
) -> list[dict[str, Any]]:
    control = scores.get(CONTROL, {})
    paired = {
        variant: _paired(own, control, lower, failed.get(variant, set()), failed.get(CONTROL, set()))
        for variant, own in scores.items()
        if variant != CONTROL
    }
    effects = compare({variant: differences for variant, (differences, _) in paired.items()}, alpha, lower)
    rows = []
    for variant, own in {CONTROL: control, **scores}.items():
        means = [float(np.mean(list(items.values()))) for items in own.values()]
        row: dict[str, Any] = {"variant": variant, "seeds": len(means)}
        if means:
            row["mean"] = float(np.mean(means))
        if len(means) > 1 and np.isfinite(means).all():
            row["SD"] = float(np.std(means, ddof=1))
        if variant in effects:
            row |= {key: value for key, value in vars(effects[variant]).items() if value is not None}
        notes = [*(paired[variant][1] if variant in paired else ()), *problems.get(variant, ())]
        row |= {"note": "; ".join(notes)} if notes else {}
        rows.append(row)
    return rows


def _paired(
    own: Scores, control: Scores, lower: bool, failed: set[int], failed_control: set[int]
) -> tuple[Array, list[str]]:
    """(seeds,) of variant minus control, and notes; NaN for each seed whose training failed, which would favour
    diverging variants if it were left out."""
    lost = failed | failed_control
    differences, notes = _differences(
        {seed: items for seed, items in own.items() if seed not in lost},
        {seed: items for seed, items in control.items() if seed not in lost},
        lower,
    )
    notes += _seeds_note("failed", failed) + _seeds_note("failed in the control", failed_control)
    return np.concatenate([differences, np.full(len(lost), np.nan)]), notes


def _differences(own: Scores, control: Scores, lower: bool) -> tuple[Array, list[str]]:
    """(seeds,) of variant minus control over common seeds, averaged over the items common to all runs; and notes.

    Items with an infinitely good score (PSNR of equal images) are left out. A score that is NaN or infinitely bad makes
    its seed's difference NaN, as a failed training does.
    """
    seeds = [seed for seed in own if seed in control]
    notes = _seeds_note("not in the control", set(own) - set(control)) + _seeds_note("missing", set(control) - set(own))
    sides = [[side[seed] for seed in seeds] for side in (own, control)]
    items = [item for item in (own[seeds[0]] if seeds else ()) if all(item in run for side in sides for run in side)]
    all_items = {item for side in sides for run in side for item in run}
    if len(items) < len(all_items):
        notes.append(f"{len(all_items) - len(items)} of {len(all_items)} items left out: not in every run")
    if not items:
        return np.zeros(0), notes
    scores = np.array([[[run[item] for item in items] for run in side] for side in sides], dtype=np.float64)
    kept = (scores != (-np.inf if lower else np.inf)).all(axis=(0, 1))
    if not kept.all():
        notes.append(f"{np.count_nonzero(~kept)} of {len(items)} items left out: infinite")
    if not kept.any():
        return np.zeros(0), notes
    scores = scores[:, :, kept]
    scores[~np.isfinite(scores)] = np.nan
    for where, invalid in zip(("NaN", "NaN in the control"), np.isnan(scores), strict=True):
        notes += _seeds_note(where, {seed for seed, row in zip(seeds, invalid, strict=True) if row.any()})
    return np.asarray((scores[0] - scores[1]).mean(axis=1)), notes


def _seeds_note(what: str, seeds: set[int]) -> list[str]:
    return [f"{what}: seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))}"] if seeds else []
