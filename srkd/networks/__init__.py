"""SR networks. All take float RGB (N, 3, H, W) in [0, 1] and return the same at `scale` times the size."""

from srkd.networks.registry import build, build_described, names, register, takes

__all__ = ["build", "build_described", "names", "register", "takes"]
