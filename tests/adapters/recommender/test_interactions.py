"""From files to pairs with classes: duplicates, k-core, quantile bins, behaviours, no leakage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srkd.adapters.recommender.formats import lines_of
from srkd.adapters.recommender.interactions import Interactions, Pairs, class_edges, last_of_each_pair, read
from srkd.adapters.recommender.recipe import RecommenderData
from srkd.errors import SrkdError


def data(path: Path, **options: Any) -> Interactions:
    return read(path, RecommenderData(root=str(path), **options))


def named(found: Interactions, pairs: Pairs) -> set[tuple[str, str]]:
    return {(found.user_ids[u], found.item_ids[i]) for u, i in zip(pairs.users, pairs.items, strict=True)}


def test_the_latest_duplicate_counts_then_the_last_line() -> None:
    lines = lines_of(
        ["a", "a", "b", "a", "b"], ["x", "x", "x", "x", "x"], np.array([1.0, 2, 3, 4, 5]), np.array([7.0, 9, 1, 8, 1])
    )
    kept = last_of_each_pair(lines)
    assert [lines.user_ids[u] for u in kept.users] == ["a", "b"] and kept.ratings.tolist() == [2, 5]


def test_parts_are_disjoint_and_their_users_and_items_are_in_training(table: Path) -> None:
    found = data(table)
    parts = [named(found, part) for part in (found.train, found.validation, found.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert set(found.train.users) == set(range(len(found.user_ids)))
    assert set(found.train.items) == set(range(len(found.item_ids)))


def test_an_item_only_in_test_is_left_out_with_a_notice(tmp_path: Path) -> None:
    lines = [f"u{u},i{i},{1 + (u + i) % 3},{(7 * (9 * u + i)) % 54}" for u in range(6) for i in range(9)]
    (tmp_path / "t.csv").write_text("\n".join([*lines, "u0,new,3,99"]), encoding="utf-8")
    found = data(tmp_path / "t.csv", split="time", test=0.3)
    assert "new" not in found.item_ids
    assert any("test pairs are left out: their user or item has no training pair" in notice for notice in found.notices)


def test_classes_are_ratings_or_quantile_bins_of_the_training_pairs(table: Path) -> None:
    found = data(table)
    assert found.classes(found.train).tolist() == found.train.values.tolist() and found.levels.tolist() == [
        1,
        2,
        3,
        4,
        5,
    ]
    values = np.random.default_rng(0).normal(size=1000)
    edges = class_edges(values, 5, "t")
    assert np.bincount(np.searchsorted(edges, values, side="right")).tolist() == [200] * 5


def test_the_top_class_is_relevant_unless_a_rating_is_given(table: Path) -> None:
    assert data(table).threshold == 5 and data(table, relevant=4).threshold == 4


def test_k_core_keeps_users_and_items_with_enough_training_pairs(table: Path) -> None:
    found = data(table, core=10)
    assert np.bincount(found.train.users).min() >= 10 and np.bincount(found.train.items).min() >= 10
    assert len(found.item_ids) <= len(data(table).item_ids)
    with pytest.raises(SrkdError, match=r"no training pair remains \(data.core 1000\)"):
        data(table, core=1000)


@pytest.mark.parametrize(
    ("values", "bins", "message"),
    [
        (np.arange(30.0), 0, "30 distinct ratings are too many classes: set data.bins"),
        (np.array([1.0, 1, 1, 2]), 3, "data.bins is 3, but the ratings have too few distinct values"),
    ],
)
def test_invalid_classes_raise(values: np.ndarray, bins: int, message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        class_edges(values, bins, "t")


@pytest.fixture
def behaviours(tmp_path: Path) -> Path:
    files = {
        "collect": "a x\na y\nb x\nb z\nc x\n",
        "buy": "a x\na z\nb y\nc y\nc z\n",
        "validation": "b x\na w\n",
        "test": "a y\nc x\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    return tmp_path


def test_the_strongest_behaviour_is_a_pairs_class(behaviours: Path) -> None:
    found = data(behaviours, behaviours=["collect", "buy"])
    classes = dict(zip(sorted(named(found, found.train)), [None] * 9, strict=False))
    for u, i, c in zip(found.train.users, found.train.items, found.classes(found.train), strict=True):
        classes[found.user_ids[u], found.item_ids[i]] = int(c)
    # (a, y), (c, x) and (b, x) are held out, and not trained on although they are in the training files.
    assert classes == {("a", "x"): 2, ("a", "z"): 2, ("b", "z"): 1, ("b", "y"): 2, ("c", "y"): 2, ("c", "z"): 2}
    assert named(found, found.test) == {("a", "y"), ("c", "x")} and found.threshold == 2
    assert any("1 of 2 validation pairs" in notice for notice in found.notices)


def test_test_pairs_can_be_kept_among_the_training_pairs(behaviours: Path) -> None:
    found = data(behaviours, behaviours=["collect", "buy"], keep_test_pairs=True)
    assert named(found, found.train) & named(found, found.test) == {("a", "y"), ("c", "x")}


def test_folders_and_files_need_matching_options(behaviours: Path, table: Path) -> None:
    with pytest.raises(SrkdError, match=r"is a folder: list its files in data.behaviours, weakest first"):
        data(behaviours)
    with pytest.raises(SrkdError, match=r"data.behaviours needs a folder, and this is a file"):
        data(table, behaviours=["buy"])
    with pytest.raises(SrkdError, match=r"cart.txt: cannot be read: No such file"):
        data(behaviours, behaviours=["cart", "buy"])
