"""What generated parts of a page read from committed files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sources:
    """Access to the committed files for a page.

    Args:
        value: returns the value of a source `file#keys`.
        figure: returns the text of `expression : format`.
    """

    value: Callable[[str], Any]
    figure: Callable[[str], str]
