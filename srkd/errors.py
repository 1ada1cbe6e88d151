"""Errors that the user can fix.

The command line prints them as one line and exits with `exit_code`; any other exception is a bug and keeps its
traceback.
"""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


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


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Convert any exception raised inside the block to a one-line SrkdError: `what`, the error, and its line in the
    user's own code.

    Raises:
        SrkdError: in place of any other exception; an SrkdError raised inside passes through unchanged.
    """
    try:
        yield
    except SrkdError:
        raise
    except Exception as error:  # networks and losses may be third-party code
        text = (str(error).splitlines() or [""])[0][:300]
        raise SrkdError(f"{what}: {type(error).__name__}: {text}{_user_location(error)}") from error


def _user_location(error: BaseException) -> str:
    """The file and line of an error in code that belongs neither to srkd, Python nor an installed package, if any."""
    others = {Path(__file__).parent, Path(os.__file__).parent}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        installed = others & set(path.parents) or {"site-packages", "dist-packages"} & set(path.parts)
        if path.is_file() and not installed:
            return f" ({path.name}, line {frame.lineno})"
    return ""


@contextmanager
def exit_on_error(program: str) -> Iterator[None]:
    """For a module's own command line (`python -m srkd.studies.choose`): an SrkdError ends it with one line on standard
    error and exit code 1.

    Raises:
        SystemExit: in place of an SrkdError.
    """
    try:
        yield
    except SrkdError as error:
        raise SystemExit(f"{program}: {error}") from error


def check_all(*checks: Callable[[], object]) -> None:
    """Call each check, whether or not the ones before it fail.

    Raises:
        SrkdError: one line with the errors of all that failed, without repetition.
    """
    errors = []
    for check in checks:
        try:
            check()
        except SrkdError as error:
            errors.append(str(error))
    if errors:
        raise SrkdError("; ".join(dict.fromkeys(errors)))
