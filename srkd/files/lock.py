"""Locks between processes, by filelock; a process that ends, killed or not, releases its locks."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import lock_descriptor

from srkd.files.atomic import writing

NAME = ".lock"


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Lock a folder, created if missing. If another process has the lock: wait, or with `wait=False` yield False.

    The lock is a file `.lock`, which is created if missing and never written to.

    Raises:
        SrkdError: the folder cannot be written to, or `.lock` is a symbolic link.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _open(folder / NAME)
    with _held(descriptor, wait) as free:
        yield free


@contextmanager
def locked_itself(folder: Path) -> Iterator[bool]:
    """Lock an existing folder without a lock file in it; yields False if another process has locked it.

    Windows cannot open folders: there the lock is a file `.<name>.lock` beside the folder.
    """
    if sys.platform == "win32":
        descriptor = _open(folder.with_name(f".{folder.name}{NAME}"))
    else:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with _held(descriptor, wait=False) as free:
        yield free


def _open(path: Path) -> int:
    """A descriptor of a lock file, neither followed if a link nor truncated: it may be a file of value, or lead to one.

    filelock's own `FileLock` did both before its version 3.20.
    """
    if path.is_symlink():  # Windows has no O_NOFOLLOW
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


@contextmanager
def _held(descriptor: int, wait: bool) -> Iterator[bool]:
    try:
        yield lock_descriptor(descriptor, blocking=wait)
    finally:
        os.close(descriptor)
