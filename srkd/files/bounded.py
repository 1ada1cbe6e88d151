"""Files that are read whole, of a size that is known before: pipes, devices and endless ones are not read at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_bytes(path: Path | str, most: int) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: it cannot be opened or read.
        ValueError: a pipe or a device, or more than `most` bytes; says so in words.
    """
    # Without waiting for somebody to write into it, where it is a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("a pipe or a device and not a file")
        if found.st_size <= most:
            data = file.read(most + 1)  # it may grow meanwhile
            if len(data) <= most:
                return data
    raise ValueError(f"{found.st_size:,} bytes, more than the limit of {most:,}")
