"""Checks of names that become part of a path: recipes, studies, variants, validation sets, output suffixes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath

from srkd.errors import SrkdError, unknown
from srkd.files.atomic import printable_path

_WINDOWS = os.name == "nt"
_FORBIDDEN_ON_WINDOWS = re.compile(r'[<>:"|?*]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names of Windows' devices
_LONGEST = 200  # bytes; file systems take 255, and suffixes and times are added


def check_part(text: str, what: str) -> str:
    """Check text that becomes part of a file name, and return it.

    Raises:
        SrkdError: a separator, a control character, or a length that file systems reject; on Windows also the other
            characters it forbids. `what` names the text.
    """
    if "/" in text or "\\" in text or not text.isprintable():
        raise SrkdError(
            f'{what} "{printable_path(text)}" becomes part of a file name: no slash, backslash or control character'
        )
    if _WINDOWS and (found := _FORBIDDEN_ON_WINDOWS.search(text)):
        raise SrkdError(
            f"{what} '{text}' becomes part of a file name, which Windows does not allow to contain {found[0]}"
        )
    if len(text.encode("utf-8", "surrogateescape")) > _LONGEST:
        raise SrkdError(
            f'{what} "{printable_path(text[:20])}..." is longer than {_LONGEST} bytes, the limit for a file name'
        )
    return text


def check_name(text: str, what: str) -> str:
    """Check a name that becomes a file or folder of its own, and return it.

        >>> check_name("my student x2", "name")
        'my student x2'

    Raises:
        SrkdError: as `check_part`; an empty name or a leading dot (`..` would leave the folder, `.x` be hidden); on
            Windows also a final dot or space, which it would drop, and the name of a device, such as "con".
    """
    check_part(text, what)
    if not text.strip() or text.startswith("."):
        raise SrkdError(f'{what} "{text}" becomes a folder: give a non-empty name without a leading dot')
    if _WINDOWS and (_DEVICE.fullmatch(text) or text[-1] in ". "):
        raise SrkdError(f'{what} "{text}" becomes a folder, which Windows does not allow to have this name')
    return text


def check_output(path: PurePath) -> None:
    """Check the path of a file that will be written.

    Raises:
        SrkdError: a device, a pipe or a socket is there, or a link to an open file (`/dev/stdout`), which a file would
            replace; on Windows, a part that is the name of a device, which would swallow what is written (`nul.png`),
            that has a forbidden character (`ab:c` would be a hidden stream of the file `ab`), or that Windows shortens.
    """
    if _is_special(path):
        raise SrkdError(f"{printable_path(str(path))}: is a device or a pipe; results are written to files and folders")
    if not _WINDOWS:
        return
    for part in path.parts[bool(path.anchor) :]:
        if part in (".", ".."):
            continue
        if _DEVICE.fullmatch(part) or _FORBIDDEN_ON_WINDOWS.search(part) or part[-1] in ". ":
            raise SrkdError(f'{printable_path(str(path))}: Windows does not allow a file or folder named "{part}"')


def _is_special(path: PurePath) -> bool:
    with suppress(OSError):
        mode = os.stat(path).st_mode
        open_file = os.path.islink(path) and os.readlink(path).startswith("/proc/")
        return open_file or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False


def check_folder(path: Path) -> None:
    """Raise SrkdError if a folder cannot be there, because a file is; nothing is created."""
    there = next((part for part in (path, *path.absolute().parents) if part.exists()), None)
    if there is not None and not there.is_dir():
        raise SrkdError(f"{printable_path(path)}: cannot be a folder, since {printable_path(there)} is a file")


def check_meant_as_folder(path: Path, kind: str, known: Iterable[str]) -> None:
    """Check the output of a single file that would become a folder since its suffix is not in `known`.

    Raises:
        SrkdError: nothing is there and its suffix looks like that of a file (`out.pgn`).
    """
    if re.fullmatch(r"\.[a-z]{2,3}[a-z0-9]?", path.suffix.lower()) and not path.exists():
        error = unknown(kind, path.suffix.lower(), known)
        raise SrkdError(f"{printable_path(path)}: {error}; if it is to be a folder, create it first")
