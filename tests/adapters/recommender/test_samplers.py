"""Shares of the training pairs, and negative sampling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from srkd.adapters.recommender.samplers import NOT_DRAWN, share_of, with_negatives


@pytest.mark.parametrize(("share", "count"), [(1.0, 60), (0.25, 15), (1e-9, 1)])
def test_a_share_of_the_pairs_keeps_their_classes(share: float, count: int) -> None:
    rated = csr_matrix(np.where(np.arange(300).reshape(20, 15) % 5, 0, 1 + np.arange(15) % 4))
    some, again, other = (share_of(rated, share, np.random.default_rng(seed)).toarray() for seed in (0, 0, 1))
    assert np.count_nonzero(some) == count and (some == again).all()
    assert (some[some > 0] == rated.toarray()[some > 0]).all()
    assert (some == other).all() == (share == 1)


def test_rated_items_keep_their_class_and_four_negatives_each_are_sampled() -> None:
    classes = np.zeros((400, 200), np.int64)
    classes[:, :10] = 3
    classes[0] = 2  # a user who rated everything
    labels = with_negatives(classes, 4.0, np.random.default_rng(0))
    assert (labels[classes > 0] == classes[classes > 0]).all()
    drawn = (labels[1:, 10:] == 0).sum(1)
    assert set(np.unique(labels[1:, 10:])) == {0, NOT_DRAWN} and 38 < drawn.mean() < 42


def test_all_unobserved_items_are_sampled_if_too_few() -> None:
    assert with_negatives(np.array([[1, 2, 0, 3]]), 4.0, np.random.default_rng(0)).tolist() == [[1, 2, 0, 3]]
