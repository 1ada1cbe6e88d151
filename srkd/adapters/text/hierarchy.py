"""Families of classes from a hierarchy file with one class and its family per line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from srkd.errors import SrkdError


def read(path: Path, classes: Sequence[str]) -> dict[str, str]:
    """Read the family of each of these classes from a CSV of `class,family` without a header.

    Raises:
        SrkdError: not readable as UTF-8, a line that is not a pair, a class listed twice, or a class without a family.
    """
    families: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SrkdError(f"{path}: cannot read the hierarchy ({error}): give a CSV of class,family in UTF-8") from error
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        if len(row) != 2 or not all(row) or row[0] in families:
            raise SrkdError(f"{path}, line {number}: {row} is not a class and its family, or the class occurs twice")
        families[row[0]] = row[1]
    missing = sorted(set(classes) - set(families))
    if missing:
        raise SrkdError(f"{path}: no family for {', '.join(missing[:5])}: add a line class,family for each label")
    return {name: families[name] for name in classes}
