"""Where the files that come with srkd are: the zoo and the manifests, in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """The folder `models` or `datasets`: inside the package where a wheel put it, else beside it in the checkout."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def cache() -> Path:
    """The user's cache folder of srkd, as `srkd.files.cache.cache_folder` has it."""
    from srkd.files.cache import cache_folder

    return cache_folder()
