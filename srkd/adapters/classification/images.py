"""Labelled images of one size, decoded once into the cache folder and then memory-mapped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from srkd.adapters.classification import formats
from srkd.adapters.classification.formats import Labelled
from srkd.adapters.order import stratified
from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path, printable_path, write_json
from srkd.files.cache import cache_place, trusted_inside
from srkd.files.lock import locked

_VERSION = 2


@dataclass(frozen=True)
class ImageDataset:
    """A data set: class names, and images for training, calibration (possibly none) and test."""

    classes: list[str]
    train: Labelled
    held_out: Labelled
    test: Labelled


def read(root: Path, train: int | None = None, held_out: int = 0) -> ImageDataset:
    """Read the data set in a folder or archive of any supported layout.

    Args:
        train: number of training images, stratified by class; None for all that remain.
        held_out: number of training images set aside, stratified by class. The choice is deterministic: every run with
            the same numbers uses the same images.

    Raises:
        SrkdError: not a data set, mixed sizes, a label out of range, a class without images, or too few images.
    """
    classes, splits = _decoded(root)
    for name, split in splits.items():
        check(split, classes, f"{printable_path(root)}: {name}")
    have, wanted = len(splits["train"].labels), held_out + (train or len(classes))
    if wanted > have:
        raise SrkdError(f"{printable_path(root)}: {have} training images, but data.train and held_out need {wanted}")
    order = stratified(splits["train"].labels)
    kept, rest = order[:held_out], order[held_out : None if train is None else held_out + train]
    result = ImageDataset(classes, splits["train"][rest], splits["train"][kept], splits["test"])
    check(result.train, classes, f"{printable_path(root)}: the remaining training images")
    return result


def check(split: Labelled, classes: Sequence[str], where: str) -> None:
    """Check the labels of a split.

    Raises:
        SrkdError: a label outside 0 to len(classes) - 1, or a class without images.
    """
    labels = np.asarray(split.labels)
    if len(labels) and (labels.min() < 0 or labels.max() >= len(classes)):
        wrong = int(labels.min() if labels.min() < 0 else labels.max())
        raise SrkdError(f"{where}: the label {wrong} is out of range: the {len(classes)} classes are numbered from 0")
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    if empty:
        raise SrkdError(f'{where}: the class "{empty[0]}" is empty; add images of it or remove it')


def _decoded(root: Path) -> tuple[list[str], dict[str, Labelled]]:
    """The data set from the cache, decoded into it first if necessary."""
    paths = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    stats = [(os.path.abspath(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    key = hashlib.sha256(os.fsencode(repr((_VERSION, stats)))).hexdigest()[:16]
    folder = cache_place("classification", key)
    with locked(folder):
        if not ((folder / "classes.json").is_file() and trusted_inside(folder)):
            _save(folder, *formats.decode(root))
    classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    return classes, {
        name: Labelled(*(np.load(folder / f"{name}_{part}.npy", mmap_mode="r") for part in ("images", "labels")))
        for name in ("train", "test")
    }


def _save(folder: Path, classes: list[str], splits: Mapping[str, Labelled]) -> None:
    for name, split in splits.items():
        for part in ("images", "labels"):
            with atomic_path(folder / f"{name}_{part}.npy") as path:
                np.save(path, getattr(split, part))
    write_json(folder / "classes.json", classes)
