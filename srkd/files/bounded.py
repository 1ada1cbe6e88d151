"""Reading whole files up to a size limit; pipes, devices and endless files are rejected."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_bytes(path: Path | str, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        OSError: it cannot be opened or read.
        ValueError: it is a pipe or a device, or larger than `most` bytes; the message states which.
    """
    # O_NONBLOCK: opening a pipe must not wait for a writer. Windows has neither it nor pipes among its files.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("a pipe or a device and not a file")
        if status.st_size <= most:
            data = file.read(most + 1)  # it may grow while it is read
            if len(data) <= most:
                return data
    raise ValueError(f"{status.st_size:,} bytes, more than the limit of {most:,}")
