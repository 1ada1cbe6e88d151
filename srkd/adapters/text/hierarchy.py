"""Families of classes: a hierarchy file, one class and its family a line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from srkd.errors import SrkdError


def read(path: Path, classes: Sequence[str]) -> dict[str, str]:
    """The family of each of these classes, from a CSV of `class,family` without a head line.

    Raises:
        SrkdError: not readable as UTF-8, a line that is no pair, a class twice, or one of `classes` that is not in it.
    """
    families: dict[str, str] = {}
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SrkdError(f"{path}: no hierarchy can be read ({error}): give a CSV of class,family in UTF-8") from error
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        if len(row) != 2 or not all(row) or row[0] in families:
            raise SrkdError(f"{path}, line {number}: {row} is not a class, named once, and its family")
        families[row[0]] = row[1]
    missing = sorted(set(classes) - set(families))
    if missing:
        raise SrkdError(f"{path}: no family for {', '.join(missing[:5])}: add a line class,family for each label")
    return {name: families[name] for name in classes}
