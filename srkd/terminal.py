"""What reaches a terminal: names of files, metadata and others' errors may hold sequences that move its cursor, rewrite
lines, or reverse what is read. They are shown as escapes instead.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


def printable(text: str, keep: str = "") -> str:
    """Text with control characters, separators of lines and marks of direction as escapes, save those of `keep`.

        >>> print(printable("a\\x1b[2Jb"))
        a\\x1b[2Jb

    Bytes that were no UTF-8 (surrogates) appear as \\xNN too, so that it can always be printed, on one line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is not UTF-8, as os.fsdecode has it
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character < " ":
        return character.encode("unicode_escape").decode()
    # As JSON has it, so that what is printed as JSON stays the same JSON.
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(character)[1:-1]


def tell(text: str) -> None:
    """Print one line on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


@contextmanager
def escaping() -> Iterator[None]:
    """Within the block all that is printed is `printable`, but for ends of lines and tabs, libraries' warnings too."""
    found = sys.stdout, sys.stderr
    # A stream that was closed before Python began is None, and print says nothing there.
    sys.stdout, sys.stderr = (stream and _Escaping(stream) for stream in found)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = found


def unescaped(stream: TextIO) -> TextIO:
    """The stream below, for what draws on a terminal itself."""
    return stream.stream if isinstance(stream, _Escaping) else stream


class _Escaping:
    """A text stream that writes `printable` text to another, and is that one in all else."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(printable(text, keep="\n\t"))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
