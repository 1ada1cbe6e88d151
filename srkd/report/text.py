"""Text from anywhere, made fit for a file: names of files and models may hold what UTF-8, HTML or a font cannot."""

from __future__ import annotations

import re
from typing import Any


def printable(value: Any) -> str:
    """`str(value)` with control characters and marks that turn the direction of reading shown as U+FFFD, and bytes that
    were no UTF-8 (as \\udcXX) as \\xXX."""
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", str(value))
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
