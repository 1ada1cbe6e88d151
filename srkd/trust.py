"""Whether a checkpoint may have a class of the user's own imported, which runs the code of its module.

A recipe is the user's own words, so a class that one has named in this process is known. Any other is imported only
within `trusting()`: `--trust-code`, `srkd.load(..., trust_code=True)`, a recipe's `trust_code: true`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_named: set[str] = set()
_granted = 0


def name(path: str) -> None:
    """Note that the user has named the class `package.module:Class`."""
    _named.add(path)


def allows(path: str) -> bool:
    """Whether this class may be imported for a checkpoint."""
    return path in _named or granted()


def granted() -> bool:
    """Whether every class may be, here and now."""
    return _granted > 0


def environment() -> dict[str, str]:
    """This process's environment for a Python process with `-m`, which then imports nothing that lies in the working
    folder (as of Python 3.11)."""
    return {**os.environ, "PYTHONSAFEPATH": "1"}


@contextmanager
def trusting(trust: bool = True) -> Iterator[None]:
    """Within the block checkpoints may name any class; with `trust=False` nothing is changed."""
    global _granted
    _granted += trust
    try:
        yield
    finally:
        _granted -= trust
