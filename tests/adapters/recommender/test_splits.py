"""Splits: disjoint parts, and no training pair later than a test pair."""

from __future__ import annotations

import numpy as np
import pytest

from srkd.adapters.recommender.formats import Lines, lines_of
from srkd.adapters.recommender.recipe import RecommenderData
from srkd.adapters.recommender.splits import split
from srkd.errors import SrkdError


def lines(times: bool = True) -> Lines:
    rng = np.random.default_rng(0)
    pairs = [(f"u{u}", f"i{i}") for u in range(20) for i in rng.choice(30, 1 + u % 8, replace=False)]
    users, items = (list(side) for side in zip(*pairs, strict=True))
    when = rng.integers(5, size=len(users)).astype(float) if times else np.zeros(len(users))
    return lines_of(users, items, np.ones(len(users)), when)


@pytest.mark.parametrize("kind", ["random", "leave_one_out", "time"])
def test_every_pair_is_in_one_part(kind: str) -> None:
    table = lines()
    parts = split(table, RecommenderData(root="x", split=kind))
    assert np.sort(np.concatenate(list(parts.values()))).tolist() == list(range(len(table)))
    assert all(len(part) for part in parts.values())


def test_shares_and_seed_of_a_random_split() -> None:
    table = lines(times=False)
    first, again, other = (split(table, RecommenderData(root="x", test=0.3, validation=0.2, seed=s)) for s in (0, 0, 1))
    assert len(first["test"]) == round(0.3 * len(table))
    assert len(first["validation"]) == round(0.2 * (len(table) - len(first["test"])))
    assert first["test"].tolist() == again["test"].tolist() != other["test"].tolist()


def test_split_by_time_has_no_leakage() -> None:
    table = lines()
    parts = {name: table.times[part] for name, part in split(table, RecommenderData(root="x", split="time")).items()}
    assert parts["train"].max() <= parts["validation"].min() and parts["validation"].max() <= parts["test"].min()


def test_leave_one_out_takes_each_users_last_two() -> None:
    table = lines()
    parts = split(table, RecommenderData(root="x", split="leave_one_out"))
    for user in range(20):
        mine = sorted(np.flatnonzero(table.users == user), key=lambda n: (table.times[n], n))
        for name, wanted in (("test", mine[-1:]), ("validation", mine[-2:-1])):
            found = [n for n in parts[name] if table.users[n] == user]
            assert found == (wanted if len(mine) >= 3 else [])


@pytest.mark.parametrize("kind", ["leave_one_out", "time"])
def test_a_split_by_time_needs_times(kind: str) -> None:
    with pytest.raises(SrkdError, match=f"data.split is {kind}, but the ratings have no times: use random"):
        split(lines(times=False), RecommenderData(root="x", split=kind))
