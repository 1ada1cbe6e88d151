"""Files that appear under their final name only when complete.

Our own because libraries such as atomicwrites yield an open file, where many writers need a path with its suffix, and
keep what a killed process left behind. Here the next process removes it, but nothing that another one is writing.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from srkd.errors import SrkdError
from srkd.terminal import printable

# Windows locks bytes against all other handles, cannot open folders, and cannot rename an open file. There a temporary
# file or folder is in use while a file of its name and this suffix exists, which the system deletes when the descriptor
# that created it is closed, also when its process is killed.
_BESIDE = ".lock"
_DELETED_WHEN_CLOSED = getattr(os, "O_TEMPORARY", 0)

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is too large",
}
_REFUSED = {
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.EISDIR: "there is a folder of that name",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "a symbolic link stands in its place",
}


def _write_error(error: OSError, final: Path) -> SrkdError:
    known = _FULL | _REFUSED
    return SrkdError(
        f"cannot write {printable_path(final)}: {known.get(error.errno or 0, error.strerror or str(error))}"
    )


@contextmanager
def writing(final: Path | str) -> Iterator[None]:
    """Context for code that writes to `final`, a file or a folder, without `atomic_path`.

    Raises:
        SrkdError: instead of an OSError, where the disk is full or the path is not writable.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL | _REFUSED:
            raise _write_error(error, Path(final)) from error
        raise


def printable_path(path: Path | str) -> str:
    """A path, or a name inside a file, as one line of printable text: control characters and bytes that are not UTF-8
    appear as \\xNN."""
    try:
        return printable(os.fsencode(path).decode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # no path: JSON and pickles can contain half a surrogate pair
        return printable(str(path))


def is_partial(path: Path) -> bool:
    """Whether a path is named like an unfinished file of `atomic_path`."""
    return re.fullmatch(r"\.part-[0-9a-f]{12}(\.[^/]*)?", path.name) is not None


@contextmanager
def atomic_path(final: Path | str, new: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `final`, with the same suffix, that is renamed to `final` when the block succeeds.

        >>> folder = getfixture("tmp_path")
        >>> with atomic_path(folder / "whole.txt") as temporary:
        ...     _ = temporary.write_text("all of it")
        ...     print((folder / "whole.txt").exists())
        False
        >>> (folder / "whole.txt").read_text()
        'all of it'

    Missing parent folders are created. The file exists, empty, when the block starts. If the block raises anything
    (including KeyboardInterrupt and SystemExit) the temporary file is removed and `final` is unchanged. If the process
    is killed, the next process that writes into the folder removes the leftover.

    Args:
        new: `final` was chosen because it was free; a file that has appeared there since is not replaced.

    Raises:
        SrkdError: the folder cannot be written to, or the disk is full; with `new`, `final` exists; on Windows, a name
            that it does not allow.
    """
    from srkd.files.names import check_output  # which imports this module

    final = Path(final)
    check_output(final)
    with _unfinished(final.parent, final.suffix, final) as temporary:
        try:
            yield temporary
            _sync(temporary)
            if new:
                _publish(temporary, final)
            else:
                os.replace(temporary, final)
        except OSError as error:
            if error.errno in _FULL:
                raise _write_error(error, final) from error
            raise


def _publish(temporary: Path, final: Path) -> None:
    """Give a file its name, unless another has it."""
    try:
        os.link(temporary, final)
    except FileExistsError as error:
        raise _appeared(final) from error
    except OSError as error:  # a file system without hard links
        if os.path.lexists(final):
            raise _appeared(final) from error
        os.replace(temporary, final)


def _appeared(final: Path) -> SrkdError:
    return SrkdError(f"{printable_path(final)}: was written by another program meanwhile; it stays, run this again")


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder inside `folder`, which is created if missing.

    It is removed when the block ends, by success or error; if the process is killed, by the next process that writes
    into `folder`.

    Raises:
        SrkdError: `folder` cannot be written to.
    """
    with _unfinished(folder, None, folder) as place:
        yield place


@contextmanager
def _unfinished(folder: Path, suffix: str | None, final: Path) -> Iterator[Path]:
    """Yield a new temporary file with that suffix, or a folder for None; it is removed when the block ends.

    A lock marks it as in use. Its name is chosen before it is created, so that a signal in between leaves nothing
    behind. Raises SrkdError, naming `final`, if it cannot be created.
    """
    temporary, lock = folder / f".part-{secrets.token_hex(6)}{suffix or ''}", -1
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if suffix is not None and final.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            _clear(folder.absolute())
            lock = _create_locked(temporary, suffix is None)
            while not temporary.exists():  # removed by another process before it was locked
                os.close(lock)
                lock = _create_locked(temporary, suffix is None)
        except OSError as error:
            raise _write_error(error, final) from error
        yield temporary
    finally:
        if suffix is None:
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):  # it was renamed, or never created
                temporary.unlink()
        if lock >= 0:
            os.close(lock)


def _create_locked(temporary: Path, is_folder: bool) -> int:
    """Create a file or folder; returns the descriptor that marks it as in use until it is closed."""
    if _DELETED_WHEN_CLOSED:
        beside = temporary.with_name(temporary.name + _BESIDE)
        descriptor = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR | _DELETED_WHEN_CLOSED, 0o666)
        temporary.mkdir() if is_folder else temporary.touch(exist_ok=False)
        return descriptor
    if is_folder:
        temporary.mkdir()
        descriptor = os.open(temporary, os.O_RDONLY)
    else:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    with suppress(OSError):  # without locks in the file system, no process can take it for abandoned either
        lock_descriptor(descriptor)
    return descriptor


@cache
def _clear(folder: Path) -> None:
    """Remove unfinished files that no process has locked, once per process and folder."""
    for path in filter(is_partial, folder.glob(".part-*")):
        with suppress(OSError):
            _remove_abandoned(path)


def _remove_abandoned(path: Path) -> None:
    if _DELETED_WHEN_CLOSED:
        if path.suffix != _BESIDE and not path.with_name(path.name + _BESIDE).exists():
            _remove(path)
        return
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        if lock_descriptor(descriptor, blocking=False):
            _remove(path)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)  # Windows writes back only what may be written to
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(final: Path | str, data: bytes) -> None:
    """Write `data` to `final`, all or nothing. Raises SrkdError as `atomic_path` does."""
    with atomic_path(final) as temporary:
        temporary.write_bytes(data)


def write_text(final: Path | str, text: str) -> None:
    """Write `text` to `final` as UTF-8, all or nothing. Raises SrkdError as `atomic_path` does."""
    write_bytes(final, text.encode())


def write_json(final: Path | str, value: Any) -> None:
    """Write `value` to `final` as indented JSON, all or nothing. Raises SrkdError as `atomic_path` does."""
    write_text(final, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
