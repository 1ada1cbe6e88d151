"""Names that become a part of a path: of recipes, studies, variants, validation sets, suffixes of outputs."""

from __future__ import annotations

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path

_LONGEST = 200  # bytes; file systems take 255, and suffixes and times are added


def check_part(text: str, what: str) -> str:
    """Check text that becomes a part of a file's name, and return it.

    Raises:
        SrkdError: a separator, a control character, or longer than file systems take; `what` says whose it is.
    """
    if "/" in text or "\\" in text or not text.isprintable():
        raise SrkdError(
            f'{what} "{printable_path(text)}" becomes part of a file name: no slash, backslash or control character'
        )
    if len(text.encode("utf-8", "surrogateescape")) > _LONGEST:
        raise SrkdError(
            f'{what} "{printable_path(text[:20])}..." is longer than the {_LONGEST} bytes that a file name may have'
        )
    return text


def check_name(text: str, what: str) -> str:
    """Check a name that becomes a file or folder of its own, and return it.

        >>> check_name("my student x2", "name")
        'my student x2'

    Raises:
        SrkdError: as `check_part`; nothing, or a dot at the beginning (`..` would leave the folder, `.x` be hidden).
    """
    check_part(text, what)
    if not text.strip() or text.startswith("."):
        raise SrkdError(f'{what} "{text}" becomes a folder: give a name that is not empty and begins with no dot')
    return text
