"""Folders that srkd may empty: a marker in them lists what srkd wrote, and nothing else is ever removed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from srkd.errors import SrkdError
from srkd.files.atomic import is_partial, printable_path, write_text, writing

MARKER = ".srkd"
_MEANING = "written by srkd, which may replace the files listed here and leaves all others alone"


def claim(folder: Path) -> None:
    """Make a folder for srkd's output, or check that it is one.

    Raises:
        SrkdError: it is there, is not empty and bears no marker of srkd's; or it cannot be written.
    """
    if folder.exists() and not (folder / MARKER).is_file() and (found := _first(folder, ())):
        where = f"{printable_path(folder)} is not empty and not of srkd ({printable_path(found)} is in it)"
        raise SrkdError(f"{where}; choose another folder")
    if not (folder / MARKER).is_file():
        _mark(folder, [])


def reset_folder(folder: Path, names: Sequence[str]) -> Path:
    """A folder that files of these names will be written to; those that srkd wrote before are gone.

    Raises:
        SrkdError: something is in it that srkd did not write; or it cannot be written.
    """
    ours = _listed(folder)
    found = _first(folder, ours)
    if found:
        raise SrkdError(
            f"{printable_path(folder / found)}: srkd did not write this and will not remove it; move it elsewhere"
        )
    with writing(folder):
        for name in ours:
            (folder / name).unlink(missing_ok=True)
    _mark(folder, names)
    return folder


def _mark(folder: Path, names: Sequence[str]) -> None:
    # Plain ASCII: the names of files need not be valid UTF-8.
    write_text(folder / MARKER, json.dumps({"meaning": _MEANING, "files": list(names)}, indent=1) + "\n")


def _listed(folder: Path) -> set[str]:
    """Names in a folder's marker, of those that are one of a file in it, whatever somebody wrote there."""
    try:
        files = json.loads((folder / MARKER).read_bytes())["files"]
        return {name for name in files if name and name == Path(name).name and name != ".."}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def _first(folder: Path, known: Iterable[str]) -> str | None:
    """The name of the first entry that is neither known nor a lock, a marker or an unfinished file."""
    if not folder.exists():
        return None
    with writing(folder):
        names = sorted(path.name for path in folder.iterdir() if not is_partial(path))
    return next((name for name in names if name not in {*known, MARKER, ".lock"}), None)
