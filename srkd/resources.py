"""Locations of the files shipped with srkd (model zoo, dataset manifests), in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """The folder `models` or `datasets`: inside an installed package, else beside it in the checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def cache() -> Path:
    """srkd's cache folder of this user; see `srkd.files.cache.cache_folder`."""
    from srkd.files.cache import cache_folder

    return cache_folder()
