"""Compare a variant with its controls at equal values of another metric: `python -m srkd.studies.equal`.

Networks that trade one metric for another, as GANs trade PSNR for perception, differ in both. A ladder of controls,
such as one for each weight of the adversarial loss, gives the trade-off: a variant is compared with the point of that
curve that has its own value of the first metric. The ladder may be another study's. The result is a JSON file.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from srkd.errors import SrkdError, exit_on_error
from srkd.files.atomic import write_json
from srkd.studies.recorded import read_results
from srkd.studies.results import failed_seeds
from srkd.studies.statistics import Array, compare

Key = tuple[str, str, str]  # set, protocol and metric
Means = dict[Key, dict[str, dict[int, float]]]  # by key, variant and seed


def at_equal(
    results: Mapping[str, Any],
    variants: Sequence[str],
    ladder: Sequence[str],
    metric: str,
    controls: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """A row for each set, protocol, further metric and variant: it minus the ladder at equal `metric`, by seed.

    For each seed the ladder's runs of that seed are interpolated linearly in `metric`, without extrapolation: a seed
    whose variant is outside the ladder is compared with the nearest end, and counted as `outside`. As in the study's
    own tables, a seed that failed in any of them, or has an invalid score, leaves the row without a verdict.

    Args:
        controls: the results that have the ladder; default: the same as the variants'.

    Raises:
        SrkdError: fewer than two controls, no seed that a variant and the ladder have in common, or results of an
            earlier version, which do not record for which metrics lower is better.
    """
    if len(ladder) < 2:
        raise SrkdError(f"a ladder needs at least two controls, got {', '.join(ladder) or 'none'}")
    if "lower" not in results:
        raise SrkdError(
            "the results do not record for which metrics lower is better: run `srkd compare --judge` on them"
        )
    controls = results if controls is None else controls
    means, curve = _means(results), _means(controls)
    failed, of_ladder = (failed_seeds(found.get("failed", [])) for found in (results, controls))
    rows = []
    for key, runs in means.items():
        name, protocol, other = key
        equal = (name, protocol, metric)
        if other == metric or equal not in means:
            continue
        x, y = curve.get(equal, {}), curve.get(key, {})
        steps = [_Points(x.get(v, {}), y.get(v, {}), of_ladder.get(v, set())) for v in ladder]
        points = {}
        for variant in variants:
            own = _Points(means[equal].get(variant, {}), runs.get(variant, {}), failed.get(variant, set()))
            points[variant] = _beside(own, steps)
            if not points[variant].seeds:
                raise SrkdError(
                    f"{name} ({protocol}): no seed of {variant} is finished in every one of {', '.join(ladder)}"
                )
        differences = {variant: point.differences for variant, point in points.items()}
        effects = compare(differences, results["alpha"], other in results["lower"])
        for variant, point in points.items():
            row = {"variant": variant, "set": name, "metric": other, "at equal": metric, "seeds": point.seeds}
            found = {k: value for k, value in vars(effects[variant]).items() if value is not None}
            rows.append(row | {"outside": point.outside, metric: point.at, **found, "protocol": protocol})
    return rows


@dataclass
class _Points:
    """A variant's values of the equal metric and of another, by seed, and the seeds that failed."""

    x: Mapping[int, float]
    y: Mapping[int, float]
    failed: set[int]


@dataclass
class _Beside:
    """A variant minus the ladder: its seeds, those outside, its mean of the equal metric, and the differences, NaN for
    seeds that failed."""

    seeds: int
    outside: int
    at: float
    differences: Array


def _beside(variant: _Points, ladder: Sequence[_Points]) -> _Beside:
    everyone = (variant, *ladder)
    failed: set[int] = set().union(*(points.failed for points in everyone))
    seeds = sorted(set.intersection(*(set(points.x) & set(points.y) for points in everyone)) - failed)
    at = np.array([variant.x[seed] for seed in seeds])
    x, y = ([[getattr(points, axis)[seed] for points in ladder] for seed in seeds] for axis in "xy")
    expected = np.array([_interpolated(*point) for point in zip(at, x, y, strict=True)])
    outside = sum(not min(a) <= value <= max(a) for value, a in zip(at, x, strict=True))
    differences = np.array([variant.y[seed] for seed in seeds]) - expected
    mean = float(at.mean()) if seeds else float("nan")
    return _Beside(len(seeds), outside, mean, np.concatenate([differences, np.full(len(failed), np.nan)]))


def _means(results: Mapping[str, Any]) -> Means:
    """Means over items."""
    found: Means = {}
    for run in results["runs"]:
        for name, scores in run["scores"].items():
            for metric, items in scores["metrics"].items():
                runs = found.setdefault((name, scores["protocol"], metric), {}).setdefault(run["variant"], {})
                runs[run["seed"]] = float(np.mean(list(items.values())))
    return found


def _interpolated(at: float, x: Sequence[float], y: Sequence[float]) -> float:
    if not np.isfinite([at, *x, *y]).all():
        return float("nan")
    order = np.argsort(x)
    points: Array = np.asarray(x, dtype=np.float64)[order]
    return float(np.interp(at, points, np.asarray(y, dtype=np.float64)[order]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.json of the study")
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--variant", required=True, nargs="+", help="the variants that are compared")
    parser.add_argument("--ladder", required=True, nargs="+", help="controls that trade one metric for the other")
    parser.add_argument("--controls", type=Path, help="results.json that has the ladder (default: the study's own)")
    parser.add_argument("--metric", default="psnr", help="which is made equal (default: %(default)s)")
    args = parser.parse_args(arguments)
    with exit_on_error("equal"):
        controls = None if args.controls is None else read_results(args.controls)
        rows = at_equal(read_results(args.results), args.variant, args.ladder, args.metric, controls)
        write_json(args.output, rows)


if __name__ == "__main__":
    main()
