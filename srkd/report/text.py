"""Make any text printable: names of files and models may have characters that UTF-8, HTML or fonts cannot represent."""

from __future__ import annotations

import re
from typing import Any


def printable(value: Any) -> str:
    """`str(value)` with control characters and bidirectional marks replaced by U+FFFD, and bytes that are not UTF-8
    (\\udcXX) written as \\xXX."""
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", str(value))
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
