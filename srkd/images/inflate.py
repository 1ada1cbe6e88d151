"""How much compressed data hold, without holding it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

_STEP = 1 << 20


def inflated_length(parts: Iterable[bytes], most: int) -> int:
    """Bytes that a zlib stream, given in parts, inflates to; stops counting at about `most`. Raises zlib.error."""
    inflating, found = zlib.decompressobj(), 0
    for part in parts:
        while part and found < most:
            found += len(inflating.decompress(part, _STEP))
            part = inflating.unconsumed_tail
    return found
