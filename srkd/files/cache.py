"""The user's cache folder, and whether what lies in it may be used.

What is cached is data that srkd made or fetched, and some of it is run (inference engines). So it is used only where
nobody else could have written it: it belongs to this user, to root, or to whoever owns the folder that `SRKD_CACHE`
names, and is not writable by everybody.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path


def configured_cache() -> Path:
    """Where srkd would keep what it can make or fetch again: $SRKD_CACHE, or srkd in $XDG_CACHE_HOME or ~/.cache.

    Starts with ~ where there is no home: no `HOME`, and no entry in the password file for this user.
    """
    own, user = os.environ.get("SRKD_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(os.path.expanduser(own or os.path.join(user or "~/.cache", "srkd")))


def cache_folder() -> Path:
    """`configured_cache`, made if need be; where it cannot be used, a temporary folder of this process.

    The reason is then said once, in one line on standard error.

    Raises:
        SrkdError: no temporary folder can be made either.
    """
    folder = configured_cache()
    reason = _reason_against(folder)
    return folder if reason is None else _temporary(folder, reason, os.getpid())


def _reason_against(folder: Path) -> str | None:
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        return "this user has no home"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        return error.strerror or str(error)
    if not os.access(folder, os.W_OK | os.X_OK):
        return "no permission to write there"
    if found.st_uid not in _owners():
        return "it belongs to another user"
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return "everybody may write there"
    return None


@cache
def _temporary(folder: Path, reason: str, process: int) -> Path:
    try:
        made = Path(tempfile.mkdtemp(prefix="srkd-cache-"))
    except OSError as error:
        text = f"no cache folder {printable_path(folder)} ({reason}), nor a temporary one ({error.strerror})"
        raise SrkdError(text) from error

    def remove() -> None:
        if os.getpid() == process:  # not in a forked worker
            shutil.rmtree(made, ignore_errors=True)

    atexit.register(remove)
    print(
        f"srkd: the cache folder {printable_path(folder)} cannot be used ({reason}), so nothing is kept for the next "
        "time; "
        "SRKD_CACHE can name another",
        file=sys.stderr,
    )
    return made


def _owners() -> set[int]:
    """The users whose files in the cache are trusted."""
    owners = {os.geteuid(), 0}
    if os.environ.get("SRKD_CACHE"):
        with suppress(OSError):
            owners.add(os.stat(configured_cache()).st_uid)
    return owners


def trusted(*paths: Path) -> bool:
    """Whether all these files or folders are there and nobody else could have written them; so must be their links."""
    owners = _owners()
    try:
        for found in (way(path) for path in paths for way in (os.lstat, os.stat)):
            writable = found.st_mode & stat.S_IWOTH and not stat.S_ISLNK(found.st_mode)
            if found.st_uid not in owners or writable:
                return False
    except OSError:
        return False
    return True


def trusted_inside(folder: Path, names: Iterable[str] | None = None) -> bool:
    """Whether a folder and the files of those names in it, by default all, are `trusted`."""
    try:
        files = [folder / name for name in names] if names is not None else list(folder.iterdir())
    except OSError:
        return False
    return trusted(folder, *files)


def cache_place(*parts: str) -> Path:
    """A folder in the cache folder, which need not exist; beside one that somebody else made there.

    Raises:
        SrkdError: that place is taken by somebody else as well.
    """
    folder = cache_folder()
    for part in parts:
        folder = own_place(folder / part)
    return folder


def own_place(folder: Path) -> Path:
    """The folder where it is not there yet or is `trusted`, else one of this user's own beside it.

    Raises:
        SrkdError: that place is taken by somebody else as well.
    """
    for place in (folder, folder.with_name(f"{folder.name}-{os.geteuid()}")):
        if not os.path.lexists(place) or trusted(place):
            return place
    raise SrkdError(f"{printable_path(folder)}: belongs to another user, or everybody may write there; remove it")
