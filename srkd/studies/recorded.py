"""Runs recorded in a results file, with which a study continues on a machine that does not have their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.studies.plan import CONTROL, Study
from srkd.training.processes import say

Recorded = dict[tuple[str, int], dict[str, Any]]  # finished runs by variant and seed


def read_results(path: Path) -> dict[str, Any]:
    """The results of a study, as `srkd.studies.results.summarise` returns them.

    Raises:
        SrkdError: the file cannot be read, or is not the result of a study.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        missing = {"study", "alpha", "scores", "runs"} - found.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise SrkdError(f"{printable_path(path)}: not the results of a study ({error})") from error
    if missing:
        raise SrkdError(
            f"{printable_path(path)}: not the results of a study: {', '.join(sorted(missing))} not found in it"
        )
    return dict(found)


def own_runs(study: Study, path: Path) -> Recorded:
    """The runs of this study in a results file; none if the file does not exist.

    Raises:
        SrkdError: results of another study, or runs that this study does not have, which would be lost when the file is
            rewritten.
    """
    if not path.is_file():
        return {}
    found = read_results(path)
    if found["study"] != study.name:
        raise SrkdError(f'{printable_path(path)}: results of the study "{found["study"]}", not of "{study.name}"')
    runs = _by_variant_and_seed(found)
    known = {(variant.name, seed) for variant in study.variants for seed in study.seeds}
    if other := [f"{variant}, seed {seed}" for variant, seed in runs if (variant, seed) not in known]:
        raise SrkdError(
            f"{printable_path(path)}: runs that the study does not have, and that would be removed from it: "
            f"{'; '.join(other)}; add their variants and seeds to the study, or give another file"
        )
    return runs


def shared_control(study: Study) -> Recorded:
    """The control's runs in the results of another study that `control_from` names, for the seeds of this study.

    A file that does not exist yet is announced, since its control is then trained here.

    Raises:
        SrkdError: the file is not the result of a study.
    """
    if study.control_from is None:
        return {}
    path = Path(study.control_from)
    if not path.is_file():
        say(f"{printable_path(path)} not found: {study.name} trains its own control")
        return {}
    runs = _by_variant_and_seed(read_results(path))
    return {(CONTROL, seed): runs[CONTROL, seed] for seed in study.seeds if (CONTROL, seed) in runs}


def _by_variant_and_seed(found: Mapping[str, Any]) -> Recorded:
    return {(run["variant"], run["seed"]): run for run in found["runs"]}
