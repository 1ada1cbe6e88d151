"""One process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srkd.files.atomic import writing


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a folder, which is made if need be; others that want it wait, or with `wait=False` get False.

    The lock is a file `.lock`, which is made where it is missing and never written to.

    Raises:
        SrkdError: the folder cannot be written to, or a symbolic link stands in the lock's place.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Not through a link, which may be somebody's way to another file; not truncated, since it may be one.
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with _held(lock, wait) as free:
        yield free


@contextmanager
def locked_itself(folder: Path) -> Iterator[bool]:
    """Hold a lock on an existing folder without a file in it; False where another process has it."""
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
