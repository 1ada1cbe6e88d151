"""The user's cache folder, and whether its files can be trusted.

The cache stores data that srkd created or downloaded, some of which is executed (inference engines). A cached file is
used only if no other user can have written it: its owner is this user, root, or the owner of the folder that
`SRKD_CACHE` names, and it is not world-writable. On Windows, whose files have no such owners, the cache is in the
user's profile, which other users cannot write to.
"""

from __future__ import annotations

import atexit
import getpass
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import platformdirs

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.terminal import tell


def configured_cache() -> Path:
    """The path of the cache folder: $SRKD_CACHE, or the system's place for it.

    That is srkd in $XDG_CACHE_HOME or ~/.cache on Linux, in ~/Library/Caches on macOS, and in %LOCALAPPDATA% on
    Windows. Starts with ~ if this user has no home: no `HOME`, and no entry in the password file.
    """
    named = os.environ.get("SRKD_CACHE")
    try:
        return Path(os.path.expanduser(named or platformdirs.user_cache_dir("srkd", appauthor=False)))
    except RuntimeError:  # platformdirs' error for a user without a home
        return Path("~/.cache/srkd")


def cache_folder() -> Path:
    """`configured_cache`, created if missing; if it cannot be used, a temporary folder of this process.

    In that case the reason is printed once, in one line on standard error.

    Raises:
        SrkdError: a temporary folder cannot be created either.
    """
    folder = configured_cache()
    reason = _why_unusable(folder)
    return folder if reason is None else _temporary(folder, reason, os.getpid())


def _why_unusable(folder: Path) -> str | None:
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        return "this user has no home"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        return error.strerror or str(error)
    if not os.access(folder, os.W_OK | os.X_OK):
        return "no permission to write there"
    owners = _owners()
    if owners is None:
        return None
    if status.st_uid not in owners:
        return "it belongs to another user"
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        return "everybody may write there"
    return None


@cache
def _temporary(folder: Path, reason: str, process: int) -> Path:
    try:
        temporary = Path(tempfile.mkdtemp(prefix="srkd-cache-"))
    except OSError as error:
        text = f"no cache folder {printable_path(folder)} ({reason}), nor a temporary one ({error.strerror})"
        raise SrkdError(text) from error

    def remove() -> None:
        if os.getpid() == process:  # not in a forked worker
            shutil.rmtree(temporary, ignore_errors=True)

    atexit.register(remove)
    tell(
        f"srkd: the cache folder {printable_path(folder)} cannot be used ({reason}), so nothing is kept for the next "
        "time; SRKD_CACHE can name another"
    )
    return temporary


def _user() -> str:
    if sys.platform == "win32":
        return getpass.getuser()
    return str(os.geteuid())


def _owners() -> set[int] | None:
    """The users whose files in the cache are trusted; None where files have no owners."""
    if sys.platform == "win32":
        return None
    owners = {os.geteuid(), 0}
    if os.environ.get("SRKD_CACHE"):
        with suppress(OSError):
            owners.add(os.stat(configured_cache()).st_uid)
    return owners


def trusted(*paths: Path) -> bool:
    """Whether all these files or folders exist and no other user can have written them; links are checked too."""
    owners = _owners()
    try:
        for status in (stat_of(path) for path in paths for stat_of in (os.lstat, os.stat)):
            writable = status.st_mode & stat.S_IWOTH and not stat.S_ISLNK(status.st_mode)
            if owners is not None and (status.st_uid not in owners or writable):
                return False
    except OSError:
        return False
    return True


def trusted_inside(folder: Path, names: Iterable[str] | None = None) -> bool:
    """Whether a folder and the named files in it (default: all) are `trusted`."""
    try:
        files = [folder / name for name in names] if names is not None else list(folder.iterdir())
    except OSError:
        return False
    return trusted(folder, *files)


def cache_place(*parts: str) -> Path:
    """The path of a sub-folder of the cache, which need not exist; see `own_place` for one of another user.

    Raises:
        SrkdError: as `own_place`.
    """
    folder = cache_folder()
    for part in parts:
        folder = own_place(folder / part)
    return folder


def own_place(folder: Path) -> Path:
    """`folder` if it does not exist or is `trusted`, else the path of this user's own folder beside it.

    Raises:
        SrkdError: that one belongs to another user too.
    """
    for place in (folder, folder.with_name(f"{folder.name}-{_user()}")):
        if not os.path.lexists(place) or trusted(place):
            return place
    raise SrkdError(f"{printable_path(folder)}: belongs to another user, or everybody may write there; remove it")
