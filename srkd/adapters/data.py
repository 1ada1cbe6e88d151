"""Location of an adapter's data: a path as given, or relative to the folder in SRKD_DATA."""

from __future__ import annotations

import os
from pathlib import Path

from srkd.errors import SrkdError


def find(path: str, what: str, source: str) -> Path:
    """Find the file or folder `path`: as given, else relative to the folder in the environment variable SRKD_DATA.

    Args:
        what: description of the data for the error message, such as "MovieLens 100K, a folder".
        source: origin of the data: the institution and the name of the file.

    Raises:
        SrkdError: neither path exists.
    """
    mirror = os.environ.get("SRKD_DATA")
    for candidate in [Path(path)] + ([Path(mirror) / path] if mirror else []):
        if candidate.exists():
            return candidate
    hint = "" if mirror else ", or set SRKD_DATA to the folder that contains it"
    raise SrkdError(f"{path}: no such file or folder ({what}). Source: {source}. Give its path{hint}")
