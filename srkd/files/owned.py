"""Output folders that srkd may clear: a marker file lists what srkd wrote, and nothing else is ever removed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from srkd.errors import SrkdError
from srkd.files.atomic import is_partial, printable_path, write_text, writing
from srkd.files.lock import NAME

MARKER = ".srkd"
_MEANING = "written by srkd, which may replace the files listed here and leaves all others alone"


def claim(folder: Path) -> None:
    """Create a folder for srkd's output, or check that it is one.

    Raises:
        SrkdError: it exists, is not empty and has no marker of srkd; or it cannot be written.
    """
    if folder.exists() and not (folder / MARKER).is_file() and (found := _first(folder, ())):
        where = f"{printable_path(folder)} is not empty and was not created by srkd ({printable_path(found)} is in it)"
        raise SrkdError(f"{where}; choose another folder")
    if not (folder / MARKER).is_file():
        _mark(folder, [])


def reset_folder(folder: Path, names: Sequence[str]) -> Path:
    """Remove the files that srkd wrote to a folder before, and mark `names` as its next ones; returns the folder.

    Raises:
        SrkdError: it contains a file that srkd did not write; or it cannot be written.
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


def remove_owned(folder: Path) -> None:
    """Remove the files that srkd wrote to a folder, and the folder itself if nothing else is in it.

    Raises:
        SrkdError: a file cannot be removed.
    """
    with writing(folder):
        for name in _listed(folder):
            (folder / name).unlink(missing_ok=True)
        if _first(folder, ()) is not None:
            return
        for name in (MARKER, NAME):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # an unfinished file of another process
            folder.rmdir()


def _mark(folder: Path, names: Sequence[str]) -> None:
    # Plain ASCII: the names of files need not be valid UTF-8.
    write_text(folder / MARKER, json.dumps({"meaning": _MEANING, "files": list(names)}, indent=1) + "\n")


def _listed(folder: Path) -> set[str]:
    """The names listed in a folder's marker, without any that would not be a file directly in the folder."""
    try:
        files = json.loads((folder / MARKER).read_bytes())["files"]
        return {name for name in files if name and name == Path(name).name and name != ".."}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def _first(folder: Path, known: Iterable[str]) -> str | None:
    """The name of the first entry that is not in `known`, nor a lock, a marker or an unfinished file."""
    if not folder.exists():
        return None
    with writing(folder):
        names = sorted(path.name for path in folder.iterdir() if not is_partial(path))
    return next((name for name in names if name not in {*known, MARKER, NAME}), None)
