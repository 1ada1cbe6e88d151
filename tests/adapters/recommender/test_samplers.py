"""Negative sampling."""

from __future__ import annotations

import numpy as np

from srkd.adapters.recommender.samplers import NOT_DRAWN, with_negatives


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
