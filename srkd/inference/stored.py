"""Engines stored in the cache: they are executed, so a file is used only if no other user can have written it and it
matches its checksums."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from srkd.files.atomic import write_json
from srkd.files.cache import trusted
from srkd.files.digest import file_sha256


def read_cached(path: Path) -> dict[str, Any]:
    """The {name: mapping} of a JSON file in the cache; empty if it is damaged or another user may have written it."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_bytes()) if trusted(path.parent, path) else {}
        if isinstance(found, dict) and all(isinstance(row, dict) for row in found.values()):
            return found
    return {}


def write_checksums(path: Path) -> None:
    """Write the checksums of a stored engine beside it."""
    write_json(path.with_suffix(".json"), {"sha256": {file.name: file_sha256(file) for file in _files(path)}})


def intact(path: Path) -> bool:
    """Whether a stored engine is trusted and matches its checksums; all its files are read."""
    files, note = _files(path), path.with_suffix(".json")
    if not trusted(path.parent, path, note, *files):
        return False
    return read_cached(note).get("sha256") == {file.name: file_sha256(file) for file in files}


def _files(path: Path) -> list[Path]:
    """The files of a stored engine: an .onnx, or an .xml and its .bin."""
    return [f for f in (path, path.with_suffix(".bin")) if f.is_file()]
