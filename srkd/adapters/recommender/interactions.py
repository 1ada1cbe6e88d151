"""Pairs of user and item with a class each, independent of the file format: the data set of a recommender."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from srkd.adapters.recommender import splits
from srkd.adapters.recommender.formats import Lines, Numbers, lines_of, read_pairs, read_table
from srkd.adapters.recommender.recipe import RecommenderData
from srkd.errors import SrkdError
from srkd.files.atomic import printable_path

Values = NDArray[np.float64]


@dataclass
class Pairs:
    """Distinct pairs: indices of users and items, and the rating or behaviour of each pair; arrays (N)."""

    users: Numbers
    items: Numbers
    values: Values  # ratings, or behaviours numbered from 1 (weakest)

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, which: NDArray[np.bool_] | Numbers) -> Pairs:
        return Pairs(self.users[which], self.items[which], self.values[which])


@dataclass
class Interactions:
    """A split data set. Classes are numbered from 1; `levels` (classes) has the mean training rating of each."""

    user_ids: list[str]
    item_ids: list[str]
    train: Pairs
    validation: Pairs
    test: Pairs
    edges: Values  # lower bounds of classes 2, 3, ...: the class of a value is 1 + the number of edges <= value
    levels: Values
    threshold: float  # pairs with at least this value are relevant
    notices: list[str]

    def classes(self, pairs: Pairs) -> Numbers:
        """Class (1, 2, ...) of each pair."""
        return 1 + np.searchsorted(self.edges, pairs.values, side="right")

    def matrix(self, pairs: Pairs, values: NDArray[np.generic]) -> csr_matrix:
        """Sparse matrix (users, items) with `values` at the pairs."""
        return csr_matrix((values, (pairs.users, pairs.items)), (len(self.user_ids), len(self.item_ids)))


def read(path: Path, data: RecommenderData) -> Interactions:
    """Read a data set, see `_read`. The last result is cached, since every run of a study reads the same files."""
    files = [path, *sorted(path.glob("*.txt"))] if path.is_dir() else [path]
    return _read(path, tuple(file.stat().st_mtime_ns for file in files), data.model_dump_json())


@lru_cache(maxsize=2)
def _read(path: Path, changed: tuple[int, ...], settings: str) -> Interactions:
    """Read, remove duplicates, split, apply the k-core filter, and derive the classes from the training pairs.

    Users and items are those of the training pairs: validation and test pairs with others are dropped, with a notice.

    Raises:
        SrkdError: unreadable files (see `formats`), no pair left to train or to test on, or too few distinct ratings
            for the bins.
    """
    data = RecommenderData.model_validate_json(settings)
    if path.is_dir():
        lines, parts = _behaviours(path, data)
    else:
        if data.behaviours:
            raise SrkdError(f"{printable_path(path)}: data.behaviours needs a folder, and this is a file")
        lines = last_of_each_pair(read_table(path))
        parts = splits.split(lines, data)
    parts = {**parts, "train": parts["train"][_core(lines, parts["train"], data.core)]}
    if not len(parts["train"]):
        raise SrkdError(f"{printable_path(path)}: no training pair remains (data.core {data.core})")
    (user_numbers, user_ids), (item_numbers, item_ids) = (
        _renumbered(numbers[parts["train"]], ids)
        for numbers, ids in ((lines.users, lines.user_ids), (lines.items, lines.item_ids))
    )
    every = Pairs(user_numbers[lines.users], item_numbers[lines.items], lines.ratings)
    known = (every.users >= 0) & (every.items >= 0)
    notices = []
    for name in ("validation", "test"):
        dropped = int((~known[parts[name]]).sum())
        if dropped:
            notices.append(
                f"{dropped} of {len(parts[name])} {name} pairs are left out: their user or item has no training pair"
            )
        parts[name] = parts[name][known[parts[name]]]
        if not len(parts[name]):
            raise SrkdError(f"{printable_path(path)}: no {name} pair has its user and item in the training pairs")
    train = every[parts["train"]]
    edges = class_edges(train.values, data.bins, str(printable_path(path)))
    found = Interactions(
        user_ids, item_ids, train, every[parts["validation"]], every[parts["test"]], edges, np.zeros(0), 0.0, notices
    )
    classes = found.classes(train)
    levels = np.bincount(classes - 1, train.values) / np.bincount(classes - 1)
    top = edges[-1] if len(edges) else train.values.min()
    return replace(found, levels=levels, threshold=float(top if data.relevant == "top" else data.relevant))


def last_of_each_pair(lines: Lines) -> Lines:
    """One line per pair: the latest, or for equal times the last in the file."""
    order = np.argsort(lines.times, kind="stable")[::-1]
    _, last = np.unique(lines.pairs[order], return_index=True)
    return lines[np.sort(order[last])]


def _renumbered(kept: Numbers, ids: list[str]) -> tuple[Numbers, list[str]]:
    """New index of each old index, -1 for ids that are not kept; and the kept ids."""
    old = np.unique(kept)
    new = np.full(len(ids), -1)
    new[old] = np.arange(len(old))
    return new, [ids[number] for number in old]


def class_edges(values: Values, bins: int, where: str) -> Values:
    """Lower bound of each class except the first: one class per distinct rating (bins = 0), or quantile bins.

    Raises:
        SrkdError: fewer distinct ratings than bins, or without bins more than 20 distinct ratings.
    """
    distinct = np.unique(values)
    if not bins:
        if len(distinct) > 20:
            raise SrkdError(f"{where}: {len(distinct)} distinct ratings are too many classes: set data.bins, to 5 say")
        return np.asarray(distinct[1:])
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins))
    if len(edges) != bins - 1 or edges.min(initial=np.inf) <= distinct[0]:
        raise SrkdError(f"{where}: data.bins is {bins}, but the ratings have too few distinct values for it")
    return np.asarray(edges)


def _core(lines: Lines, train: Numbers, least: int) -> NDArray[np.bool_]:
    """Mask of the k-core: removes users and items with fewer than `least` training pairs until none remains."""
    kept = np.ones(len(train), bool)
    users, items = lines.users[train], lines.items[train]
    while True:
        per_user = np.bincount(users[kept], minlength=len(lines.user_ids))
        per_item = np.bincount(items[kept], minlength=len(lines.item_ids))
        enough = (per_user[users] >= least) & (per_item[items] >= least)
        if not (kept & ~enough).any():
            return kept
        kept &= enough


def _behaviours(folder: Path, data: RecommenderData) -> tuple[Lines, dict[str, Numbers]]:
    """Training pairs with the number of their strongest behaviour, and the validation and test pairs of the folder.

    A training pair that is also a validation or test pair is removed from training, unless `keep_test_pairs`.
    """
    if not data.behaviours:
        raise SrkdError(f"{printable_path(folder)}: is a folder: list its files in data.behaviours, weakest first")
    names = [*data.behaviours, "validation", "test"]
    files = [read_pairs(folder / f"{name}.txt") for name in names]
    sizes, strongest = [len(file) for file in files], len(data.behaviours)
    # Validation and test pairs have the strongest behaviour.
    strength = np.repeat([*range(1, strongest + 1), strongest, strongest], sizes).astype(np.float64)
    users, items = ([pair[side] for file in files for pair in file] for side in (0, 1))
    lines = lines_of(users, items, strength, strength)
    part = np.repeat([*["train"] * strongest, "validation", "test"], sizes)
    pairs = lines.pairs
    parts = {}
    for name in ("test", "validation", "train"):
        rows = np.flatnonzero(part == name)[::-1]  # the strongest behaviour first
        _, first = np.unique(pairs[rows], return_index=True)
        parts[name] = np.sort(rows[first])
    held = pairs[np.concatenate([parts["test"], parts["validation"]])]
    if not data.keep_test_pairs:
        parts["train"] = parts["train"][~np.isin(pairs[parts["train"]], held)]
    parts["validation"] = parts["validation"][~np.isin(pairs[parts["validation"]], pairs[parts["test"]])]
    return lines, parts
