"""Compare a variant with its controls at equal values of another metric: `python -m srkd.studies.equal`.

Networks that trade one metric for another, as GANs trade PSNR for perception, differ in both. A ladder of controls,
such as one for each weight of the adversarial loss, gives the trade-off: the variant is compared with the point of that
curve that has its own value of the first metric. The result is a JSON file.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from srkd.errors import SrkdError, exit_on_error
from srkd.files.atomic import write_json
from srkd.studies.recorded import read_results
from srkd.studies.results import failed_seeds
from srkd.studies.statistics import Array, compare


def at_equal(results: Mapping[str, Any], variant: str, ladder: Sequence[str], metric: str) -> list[dict[str, Any]]:
    """A row for each set, protocol and further metric: the variant minus the ladder at equal `metric`, by seed.

    For each seed the ladder's runs of that seed are interpolated linearly in `metric`, without extrapolation: a seed
    whose variant is outside the ladder is compared with the nearest end, and counted as `outside`. As in the study's
    own tables, a seed that failed in any of them, or has an invalid score, leaves the row without a verdict.

    Raises:
        SrkdError: fewer than two controls, no seed that the variant and the ladder have in common, or results of an
            earlier version, which do not record for which metrics lower is better.
    """
    if len(ladder) < 2:
        raise SrkdError(f"a ladder needs at least two controls, got {', '.join(ladder) or 'none'}")
    if "lower" not in results:
        raise SrkdError(
            "the results do not record for which metrics lower is better: run `srkd compare --judge` on them"
        )
    means, failures = _means(results), failed_seeds(results.get("failed", []))
    failed = set().union(*(failures.get(v, set()) for v in (variant, *ladder)))
    rows = []
    for (name, protocol, other), runs in means.items():
        anchors = means.get((name, protocol, metric), {})
        if other == metric or not anchors:
            continue
        common = set.intersection(*(set(runs.get(v, {})) & set(anchors.get(v, {})) for v in (variant, *ladder)))
        seeds = sorted(common - failed)
        if not seeds:
            raise SrkdError(
                f"{name} ({protocol}): no seed of {variant} is finished in every one of {', '.join(ladder)}"
            )
        x, y = ([[table[v][seed] for v in ladder] for seed in seeds] for table in (anchors, runs))
        at = np.array([anchors[variant][seed] for seed in seeds])
        expected = np.array([_interpolated(a, b, c) for a, b, c in zip(at, x, y, strict=True)])
        outside = int(sum(not min(a) <= value <= max(a) for value, a in zip(at, x, strict=True)))
        differences = np.array([runs[variant][seed] for seed in seeds]) - expected
        differences = np.concatenate([differences, np.full(len(failed), np.nan)])
        effect = compare({variant: differences}, results["alpha"], other in results["lower"])[variant]
        found = {key: value for key, value in vars(effect).items() if value is not None}
        row = {"variant": variant, "set": name, "metric": other, "at equal": metric, "seeds": len(seeds)}
        rows.append(row | {"outside": outside, metric: float(at.mean()), **found, "protocol": protocol})
    return rows


def _means(results: Mapping[str, Any]) -> dict[tuple[str, str, str], dict[str, dict[int, float]]]:
    """By set, protocol and metric: {variant: {seed: mean over items}}."""
    found: dict[tuple[str, str, str], dict[str, dict[int, float]]] = {}
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
    parser.add_argument("--variant", required=True, help="the variant that is compared")
    parser.add_argument("--ladder", required=True, nargs="+", help="controls that trade one metric for the other")
    parser.add_argument("--metric", default="psnr", help="which is made equal (default: %(default)s)")
    args = parser.parse_args(arguments)
    with exit_on_error("equal"):
        write_json(args.output, at_equal(read_results(args.results), args.variant, args.ladder, args.metric))


if __name__ == "__main__":
    main()
