"""srkd-upscale: super-resolution of images without torch. `srkd_upscale.upscale("photo.jpg")`, or the command
`srkd-upscale photo.jpg`.

The modules of the package srkd that it needs lie in `bundle`, unchanged, so that no file of an installed srkd is
replaced.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from srkd_upscale.version import __version__

__all__ = ["__version__"]

_FROM_SRKD = ("SrkdError", "load", "upscale")
BUNDLE = Path(__file__).parent / "bundle"


def activate(first: bool = False) -> None:
    """Make the bundled modules importable as `srkd`, unless the full package is installed; with `first` also then."""
    if str(BUNDLE) not in sys.path and (first or importlib.util.find_spec("srkd") is None):
        sys.path.insert(0, str(BUNDLE))


def __getattr__(name: str) -> Any:
    if name not in _FROM_SRKD:
        raise AttributeError(f"module 'srkd_upscale' has no attribute {name!r}")
    activate()
    import srkd

    return getattr(srkd, name)
