"""Checks of the types of public functions' arguments, of which Python itself makes sure only when they are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Number, Real
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError


@dataclass(frozen=True)
class Kind:
    """A kind of argument: its types, and what they are called in errors."""

    words: str
    types: tuple[type, ...]

    def fits(self, value: object) -> bool:
        """Whether a value is of this kind; a bool is no number, and numbers of NumPy are."""
        return isinstance(value, self.types) and (self is BOOLEAN or not isinstance(value, bool))


INTEGER = Kind("an integer", (Integral,))
NUMBER = Kind("a number", (Real,))
STRING = Kind("a string", (str,))
PATH = Kind("a string or a Path", (str, Path))
BOOLEAN = Kind("True or False", (bool,))


def check(kind: Kind, optional: bool = False, **arguments: object) -> None:
    """Check arguments by name; with `optional` they may be None.

    >>> check(INTEGER, tile=16.5)
    Traceback (most recent call last):
    srkd.errors.SrkdError: tile must be an integer, got 16.5

    Raises:
        SrkdError: one of another kind.
    """
    for name, value in arguments.items():
        if not kind.fits(value) and not (optional and value is None):
            raise SrkdError(f"{name} must be {kind.words}, got {printable_value(value)}")


def several(kind: Kind, name: str, value: Any) -> list[Any]:
    """One argument or several as a list. Raises SrkdError if one of them is of another kind."""
    if kind.fits(value):
        return [value]
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise SrkdError(f"{name} must be {kind.words}, or a list of these, got {printable_value(value)}")
    check(kind, **{f"{name}[{number}]": each for number, each in enumerate(value)})
    return list(value)


def printable_value(value: object) -> str:
    """A value that is short, else its type."""
    if value is None or isinstance(value, (Number, str)):
        text = repr(value)
        return text if len(text) < 80 else f"{text[:80]}..."
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
