"""Ranking metrics against a slow reference in plain Python and scikit-learn's NDCG."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from srkd.adapters.recommender.scores import expected, of_lists, ranked

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(30, 25))
SEEN = RNG.random((30, 25)) < 0.3
CLASSES = np.where((RNG.random((30, 25)) < 0.3) & ~SEEN, RNG.integers(1, 6, (30, 25)), 0)
CLASSES[0] = 0  # a user without any test item
RELEVANT = CLASSES >= 4


def found(top: int) -> dict[str, np.ndarray]:
    lists = ranked(torch.from_numpy(SCORES), torch.from_numpy(SEEN), top)
    return {
        key: values.numpy()
        for key, values in of_lists(*lists, torch.from_numpy(RELEVANT), torch.from_numpy(CLASSES)).items()
    }


def slow(user: int, top: int) -> dict[str, float]:
    order = sorted((i for i in range(25) if not SEEN[user, i]), key=lambda i: -SCORES[user, i])[:top]
    wanted = {i for i in range(25) if RELEVANT[user, i]}
    if not wanted:
        return dict.fromkeys(("hr", "precision", "recall", "mrr", "ndcg", "ndcg_graded"), math.nan)
    hits = [place for place, i in enumerate(order) if i in wanted]

    def ndcg(gain: list[float]) -> float:
        best = sorted(gain, reverse=True)[: min(top, 25)]
        return sum(gain[i] / math.log2(p + 2) for p, i in enumerate(order)) / sum(
            g / math.log2(p + 2) for p, g in enumerate(best)
        )

    return {
        "hr": float(bool(hits)),
        "precision": len(hits) / min(top, 25),
        "recall": len(hits) / len(wanted),
        "mrr": 1 / (1 + hits[0]) if hits else 0.0,
        "ndcg": ndcg([float(i in wanted) for i in range(25)]),
        "ndcg_graded": ndcg([2.0 ** CLASSES[user, i] - 1 for i in range(25)]),
    }


@pytest.mark.parametrize("top", [1, 5, 25, 40])
def test_against_a_slow_reference(top: int) -> None:
    values = found(top)
    for user in range(30):
        for key, wanted in slow(user, top).items():
            assert values[key][user] == pytest.approx(wanted, nan_ok=True), (user, key)


@pytest.mark.parametrize("top", [3, 10])
def test_against_scikit_learn(top: int) -> None:
    # scikit-learn has no seen items: they get the lowest scores and no gain.
    shown = np.where(SEEN, -1e6, SCORES)
    for key, gains in (("ndcg", RELEVANT.astype(float)), ("ndcg_graded", 2.0**CLASSES - 1)):
        for user in np.flatnonzero(RELEVANT.any(1)):
            wanted = ndcg_score(gains[user : user + 1], shown[user : user + 1], k=top)
            assert found(top)[key][user] == pytest.approx(wanted)


def test_seen_items_are_never_recommended_even_in_short_lists() -> None:
    seen = torch.tensor([[True, True, True], [True, True, False]])
    items, real = ranked(torch.zeros(2, 3), seen, 2)
    assert real.tolist() == [[False, False], [True, False]] and items[1, 0] == 2
    scores = of_lists(items, real, torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 3, dtype=torch.int64))
    assert scores["hr"].tolist() == [0, 1] and scores["precision"].tolist() == [0, 0.5]


def test_expected_rating_excludes_class_0() -> None:
    logits = torch.tensor([[50.0, 0.0, math.log(3)]])
    assert expected(logits, torch.tensor([1.0, 5.0])).item() == pytest.approx(4.0)


def test_all_items_of_many_users_take_seconds() -> None:
    rng = torch.Generator().manual_seed(0)
    users, items = torch.randn(1000, 20, generator=rng), torch.randn(10_000, 20, generator=rng)
    seen = torch.zeros(1000, 10_000, dtype=torch.bool)
    classes = torch.zeros(1000, 10_000, dtype=torch.int64)
    classes[:, :10] = 3
    start = time.process_time()
    of_lists(*ranked(users @ items.T, seen, 10), classes > 2, classes)
    # The budget is 5 s on two cores for 5,000 users, hence 2 s of CPU time for a fifth of them.
    assert time.process_time() - start < 2
