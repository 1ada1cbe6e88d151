"""SR networks. Input: float RGB (N, 3, H, W) in [0, 1]. Output: (N, 3, scale H, scale W).

The registry, which needs torch, is imported on first use: `srkd.networks.zoo` and `sides` work without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srkd.networks.registry import build, build_described, has_option, names, register

__all__ = ["build", "build_described", "has_option", "names", "register"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("srkd.networks.registry"), name)
    raise AttributeError(f"module 'srkd.networks' has no attribute {name!r}")
