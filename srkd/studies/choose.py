"""Choose the setting of each method from a study of settings: `python -m srkd.studies.choose SETTINGS RESULTS STUDY`.

SETTINGS is a study whose variants are named `<method>_<setting>`, scored on data that the final study does not use, and
RESULTS is its results.json. The variants of STUDY that are named after a method get the losses of its best variant, and
what it sets under `train.`. The file's leading comment is kept.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from srkd.errors import SrkdError, exit_on_error
from srkd.files.atomic import printable_path, write_text
from srkd.studies.plan import CONTROL
from srkd.training import recipe as recipes


def best(results: dict[str, Any], metric: str, name: str | None = None) -> dict[str, tuple[str, bool]]:
    """By method, the variant with the best mean of a metric, and whether it is the first or last of its method.

    Args:
        name: the set that the metric is read from; not needed if the results have one set.

    NaN, and a variant of which a run failed, count as worst.

    Raises:
        SrkdError: the study has no such metric or several sets with it, or the variants of a method have no runs, or
            different numbers of them.
    """
    tables = [t for t in results["scores"] if t["metric"] == metric and name in (None, t["set"])]
    if len(tables) != 1:
        known = ", ".join(f"{table['metric']} on {table['set']}" for table in results["scores"])
        raise SrkdError(f'{len(tables)} tables of the metric "{metric}", expected one: the study has {known}')
    failed = {row["variant"] for row in results.get("failed", ())}
    methods: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in tables[0]["rows"]:
        method, _, setting = row["variant"].rpartition("_")
        if row["variant"] != CONTROL and setting:
            methods.setdefault(method, {})[row["variant"]] = row
    sign, chosen = -1 if metric in results["lower"] else 1, {}
    for method, rows in methods.items():
        if unfinished := [name for name, row in rows.items() if "mean" not in row and name not in failed]:
            raise SrkdError(f'variant "{unfinished[0]}": no finished run: finish the study first')
        counts = {name: row.get("seeds") for name, row in rows.items() if name not in failed}
        if len(set(counts.values())) > 1:
            each = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise SrkdError(f"{method}: different numbers of seeds ({each}): finish the study first")
        if all(name in failed or math.isnan(row["mean"]) for name, row in rows.items()):
            raise SrkdError(f"{method}: every setting failed")
        values = {name: sign * row["mean"] if name in counts else math.nan for name, row in rows.items()}
        names = list(rows)
        name = max(names, key=lambda variant: -math.inf if math.isnan(values[variant]) else values[variant])
        chosen[method] = name, name in (names[0], names[-1])
    return chosen


def choose(settings: Path, results: Path, study: Path, metric: str, name: str | None = None) -> list[str]:
    """Write the chosen settings into the file `study`; returns a line for each method.

    Raises:
        SrkdError: a file cannot be read, as `best`, or a method of the results is not in `settings`.
    """
    try:
        found = json.loads(results.read_text(encoding="utf-8"))
        chosen = best(found, metric, name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SrkdError(f"{printable_path(results)}: not the results of a study ({error})") from error
    variants = {variant["name"]: variant for variant in recipes.read(settings)["variants"]}
    final, lines = recipes.read(study), []
    for variant in final["variants"]:
        if variant["name"] not in chosen:
            continue
        taken, edge = chosen[variant["name"]]
        if taken not in variants:
            raise SrkdError(f'{printable_path(settings)}: no variant "{taken}", which the results have')
        variant["losses"] = variants[taken]["losses"]
        own = [v for name, v in variants.items() if name.rpartition("_")[0] == variant["name"]]
        tried = {key for v in own for key in v.get("set", {}) if key.startswith("train.")}
        trained = {key: value for key, value in variants[taken].get("set", {}).items() if key in tried}
        kept = {key: value for key, value in variant.get("set", {}).items() if key not in tried}
        variant.pop("set", None)
        if kept or trained:
            variant["set"] = {**kept, **trained}
        lines.append(f"{variant['name']}: {taken}" + (", at the edge of its grid" if edge else ""))
    text = study.read_text(encoding="utf-8")
    comment = list(takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True)))
    body = yaml.safe_dump(final, sort_keys=False, width=120, default_flow_style=None, allow_unicode=True)
    write_text(study, "".join(comment) + body)
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=Path, help="the study of settings, a YAML file")
    parser.add_argument("results", type=Path, help="its results.json")
    parser.add_argument("study", type=Path, help="the final study, which is rewritten")
    parser.add_argument("--metric", default="accuracy", help="what to choose by (default: %(default)s)")
    parser.add_argument("--set", help="the set that it is read from, if the results have several")
    args = parser.parse_args(arguments)
    with exit_on_error("choose"):
        print("\n".join(choose(args.settings, args.results, args.study, args.metric, args.set)))


if __name__ == "__main__":
    main()
