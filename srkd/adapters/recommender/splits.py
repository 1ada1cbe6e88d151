"""Disjoint splits of the pairs into training, validation and test."""

from __future__ import annotations

import numpy as np

from srkd.adapters.recommender.formats import Lines, Numbers
from srkd.adapters.recommender.recipe import RecommenderData
from srkd.errors import SrkdError


def split(lines: Lines, data: RecommenderData) -> dict[str, Numbers]:
    """Indices of the lines of `train`, `validation` and `test`.

    Raises:
        SrkdError: a split by time of ratings without times.
    """
    if data.split != "random" and not lines.times.any():
        raise SrkdError(f"data.split is {data.split}, but the ratings have no times: use random")
    if data.split == "leave_one_out":
        return leave_one_out(lines)
    rng = np.random.default_rng(data.seed)
    order = rng.permutation(len(lines))
    if data.split == "time":
        order = order[np.argsort(lines.times[order], kind="stable")]  # equal times in random order
    tested = round(len(lines) * data.test)
    rest, test = order[: len(lines) - tested], order[len(lines) - tested :]
    chosen = round(len(rest) * data.validation)
    parts = {"train": rest[: len(rest) - chosen], "validation": rest[len(rest) - chosen :], "test": test}
    return {name: np.sort(numbers) for name, numbers in parts.items()}


def leave_one_out(lines: Lines) -> dict[str, Numbers]:
    """Each user's last pair for test, the one before for validation; users with fewer than three pairs only train.

    Pairs with equal times are ordered as in the file.
    """
    users, counts = lines.users, np.bincount(lines.users)
    order = np.lexsort((np.arange(len(lines)), lines.times, users))
    ends = np.cumsum(counts)
    left = ends[users[order]] - 1 - np.arange(len(lines))  # number of later pairs of the user
    many = counts[users[order]] >= 3
    test, validation = many & (left == 0), many & (left == 1)
    parts = {"train": order[~test & ~validation], "validation": order[validation], "test": order[test]}
    return {name: np.sort(numbers) for name, numbers in parts.items()}
