"""Whether a checkpoint may cause a class outside srkd to be imported, which runs the code of its module.

A recipe is written by the user, so a class named in a recipe of this process is trusted. Any other is imported only
within `trusting()`: `--trust-code`, `srkd.load(..., trust_code=True)`, a recipe's `trust_code: true`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_named: set[str] = set()
_granted = 0


def remember(path: str) -> None:
    """Trust the class `package.module:Class` from now on: the user has named it."""
    _named.add(path)


def allows(path: str) -> bool:
    """Whether this class may be imported for a checkpoint."""
    return path in _named or granted()


def granted() -> bool:
    """Whether every class may be imported at the moment."""
    return _granted > 0


def environment() -> dict[str, str]:
    """This process's environment for running `python -m` without importing modules from the working folder (Python 3.11
    or later)."""
    return {**os.environ, "PYTHONSAFEPATH": "1"}


@contextmanager
def trusting(trust: bool = True) -> Iterator[None]:
    """Within the block checkpoints may name any class; `trust=False` changes nothing."""
    global _granted
    _granted += trust
    try:
        yield
    finally:
        _granted -= trust
