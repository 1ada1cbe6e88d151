"""Locks between processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srkd.files.atomic import writing


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Lock a folder, created if missing. If another process has the lock: wait, or with `wait=False` yield False.

    The lock is a file `.lock`, which is created if missing and never written to.

    Raises:
        SrkdError: the folder cannot be written to, or `.lock` is a symbolic link.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Not followed if a link, nor truncated: it may be, or lead to, another file of value.
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with _held(lock, wait) as free:
        yield free


@contextmanager
def locked_itself(folder: Path) -> Iterator[bool]:
    """Lock an existing folder without a lock file; yields False if another process has locked it."""
    with _held(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), wait=False) as free:
        yield free


@contextmanager
def _held(descriptor: int, wait: bool) -> Iterator[bool]:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
