"""Where an adapter's data are: a path as given, or below the folder that SRKD_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

from srkd.errors import SrkdError


def find(path: str, what: str, source: str) -> Path:
    """The file or folder `path`: as given, else below the folder that the environment variable SRKD_DATA names.

    Args:
        what: what is looked for, for the message: "MovieLens 100K, a folder".
        source: where it comes from: the institution and the file's name.

    Raises:
        SrkdError: it is in neither place.
    """
    mirror = os.environ.get("SRKD_DATA")
    for candidate in [Path(path)] + ([Path(mirror) / path] if mirror else []):
        if candidate.exists():
            return candidate
    hint = "" if mirror else ", or set SRKD_DATA to the folder that it is in"
    raise SrkdError(f"{path}: no such file or folder ({what}). Source: {source}. Give its path{hint}")
