"""The pictures that a recipe names, as stores of mapped arrays in the user's cache folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from srkd.errors import SrkdError
from srkd.io.images import list_images
from srkd.io.store import PictureStore, open_or_build, pair_files
from srkd.sr.recipe import Paths, TrainSet, ValSet


def training_pictures(spec: TrainSet, scale: int) -> PictureStore:
    """The pictures of `datasets.train`, decoded once; LR made by the protocol or taken from `dataroot_lq`.

    Raises:
        SrkdError: no such folder, an empty one, a picture that cannot be read, pairs that do not match.
    """
    hr = [path for root in _list(spec.dataroot_gt) for path in _images(root)]
    hr = [path for path in hr if path.stem not in spec.exclude]
    return _store(hr, spec.dataroot_lq, scale)


def validation_pictures(spec: ValSet, scale: int) -> PictureStore:
    """The pictures of a validation set. Raises as `training_pictures`."""
    hr = [path for path in _images(spec.dataroot_gt) if not spec.only or path.stem in spec.only]
    return _store(hr, spec.dataroot_lq, scale)


def _store(hr: Sequence[Path], lq: Paths | None, scale: int) -> PictureStore:
    if not hr:
        raise SrkdError("no pictures are left after `exclude` or `only`")
    if lq is None:
        return open_or_build(hr, scale)
    lr = [path for root in _list(lq) for path in _images(root)]
    return open_or_build(hr, scale, pair_files(hr, lr, scale))


def _list(paths: Paths) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)


def _images(root: str) -> list[Path]:
    found = list_images(root)
    if not found:
        raise SrkdError(f"{root}: no pictures in this folder")
    return found
