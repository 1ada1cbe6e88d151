"""SR networks. Input: float RGB (N, 3, H, W) in [0, 1]. Output: (N, 3, scale H, scale W)."""

from srkd.networks.registry import build, build_described, has_option, names, register

__all__ = ["build", "build_described", "has_option", "names", "register"]
