"""Keep freed memory: glibc returns large blocks to the system after every operation, and the page faults that follow
cost more than the arithmetic of a small network (1.5x to 3.8x seen in eager mode). The price is resident memory."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to keep what is freed; returns whether it was told (False elsewhere, or SRKD_MALLOC=0)."""
    if os.environ.get("SRKD_MALLOC") == "0":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
