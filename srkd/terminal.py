"""Safe terminal output: file names, metadata and error messages may contain control sequences that move the cursor,
rewrite lines or reverse text. They are printed as escapes instead, as are characters that a console's encoding lacks.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO


def printable(text: str, keep: str = "") -> str:
    """Escape control characters, line separators and direction marks, except those in `keep`.

        >>> print(printable("a\\x1b[2Jb"))
        a\\x1b[2Jb

    Bytes that are not UTF-8 (surrogates) become \\xNN, so that the text can always be printed on one line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is not UTF-8, from os.fsdecode
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character < " ":
        return character.encode("unicode_escape").decode()
    # JSON's escapes, so that printed JSON keeps its meaning.
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(character)[1:-1]


def tell(text: str) -> None:
    """Print one line on standard error; if nobody can read it any more, the work goes on."""
    with suppress(OSError):  # a full disk, a closed pipe, the terminal of a session that ended
        print(printable(text), file=sys.stderr, flush=True)


@contextmanager
def escaping() -> Iterator[None]:
    """Within the block everything printed, libraries' warnings too, is made `printable`, except newlines and tabs.

    Nor does printing raise where the stream's encoding lacks a character, as that of a Windows console may.
    """
    original = sys.stdout, sys.stderr
    with ExitStack() as stack:
        for stream in filter(None, original):
            stack.enter_context(_encodable(stream))
        # A stream that was closed before Python started is None, and print then does nothing.
        sys.stdout, sys.stderr = (stream and _Escaping(stream) for stream in original)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = original


@contextmanager
def _encodable(stream: Any) -> Iterator[None]:
    """Within the block a character that the stream's encoding lacks is written as an escape."""
    if not hasattr(stream, "reconfigure"):  # not a file: nothing is encoded
        yield
        return
    errors = stream.errors
    stream.reconfigure(errors=_ENCODING_ERRORS)
    try:
        yield
    finally:
        if not stream.closed:
            with suppress(OSError):  # it writes what is buffered first
                stream.reconfigure(errors=errors)


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escape, error.object[error.start : error.end])), error.end


_ENCODING_ERRORS = "srkd.escape"
codecs.register_error(_ENCODING_ERRORS, _escape_unencodable)


def unescaped(stream: TextIO) -> TextIO:
    """The underlying stream, for code that draws on a terminal itself."""
    return stream.stream if isinstance(stream, _Escaping) else stream


class _Escaping:
    """A text stream that writes `printable` text to another stream and delegates everything else to it."""

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
