"""Keep freed memory in the process. By default glibc returns large blocks to the system after every operation, and the
page faults that follow cost more than the arithmetic of a small network (measured: 1.5x to 3.8x in eager mode). The
cost is more resident memory."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Make glibc's malloc keep freed memory; returns whether it does (False without glibc or with SRKD_MALLOC=0)."""
    if os.environ.get("SRKD_MALLOC") == "0":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)


def return_freed_memory() -> None:
    """Return freed memory to the system once, where glibc keeps it: after something large that will not come again."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return
