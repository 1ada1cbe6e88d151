"""Errors that the user can fix.

The command line prints them as one line and exits with `exit_code`; any other exception is a bug and keeps its
traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SrkdError(Exception):
    """Invalid input; the message states what was wrong, where, and what to do."""

    exit_code = 1


class PartialFailure(SrkdError):
    """Some of several inputs failed; the others were processed."""

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean "x"?)' for the known name closest to `name`, or '' if none is close.

    >>> nearest("num_feet", ["num_feat", "scale"])
    ' (did you mean "num_feat"?)'
    """
    candidates = [str(k) for k in known]
    lowered = {c.lower(): c for c in candidates}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.55)
    return f' (did you mean "{lowered[close[0]]}"?)' if close else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> SrkdError:
    """The error for a name that is not in `known`: suggests the nearest name, or lists all if none is close."""
    known = sorted(str(k) for k in known)
    hint = nearest(name, known) or (f"; known: {', '.join(known)}" if known else "")
    return SrkdError(f'unknown {kind} "{name}"{hint}')
