"""The pictures that a recipe or a command names, as stores of mapped arrays in the user's cache folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from srkd.errors import SrkdError, nearest
from srkd.io.images import list_images
from srkd.io.store import PictureStore, open_or_build, pair_files
from srkd.sr import datasets
from srkd.sr.copies import smaller
from srkd.sr.recipe import Paths, TrainSet, ValSet


def training_pictures(spec: TrainSet, scale: int) -> PictureStore:
    """The pictures of `datasets.train`, decoded once; LR made by the protocol or taken from `dataroot_lq`.

    Raises:
        SrkdError: no such folder or data set, an empty one, a picture that cannot be read or must not be trained on,
            pairs that do not match.
    """
    hr = [path for root in _list(spec.dataroot_gt) for path in files_of(root)]
    hr = [path for path in hr if path.stem not in spec.exclude]
    if spec.copies and spec.dataroot_lq is not None:
        raise SrkdError("datasets.train.copies: LR pictures that are given have no smaller copies; leave one out")
    store = _store([*hr, *smaller(hr, spec.copies)], spec.dataroot_lq, scale)
    datasets.refuse_unless_training(store)
    return store


def validation_pictures(spec: ValSet, scale: int) -> PictureStore:
    """The pictures of a validation set. Raises as `training_pictures`, save that any picture will do."""
    hr = [path for path in files_of(spec.dataroot_gt) if not spec.only or path.stem in spec.only]
    return _store(hr, spec.dataroot_lq, scale)


def files_of(root: str) -> list[Path]:
    """The picture files of a folder, or of a data set by its manifest's name (`Set5`, `BSDS500/train`).

    Raises:
        SrkdError: neither; a folder without pictures; a data set that cannot be fetched.
    """
    if Path(root).is_dir():
        return list_images(root)
    if root.partition("/")[0] in datasets.names():
        known, parts = datasets.find(root)
        return [path for part in parts for path in datasets.locate(known.name, part)]
    raise SrkdError(f"{root}: no such folder, and no data set of that name{nearest(root, datasets.names())}")


def _store(hr: Sequence[Path], lq: Paths | None, scale: int) -> PictureStore:
    if not hr:
        raise SrkdError("no pictures are left after `exclude` or `only`")
    if lq is None:
        return open_or_build(hr, scale)
    lr = [path for root in _list(lq) for path in files_of(root)]
    return open_or_build(hr, scale, pair_files(hr, lr, scale))


def _list(paths: Paths) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)
