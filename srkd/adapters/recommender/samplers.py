"""Negative sampling: labels of all rated items of a batch of users and of some unobserved items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOT_DRAWN = -100  # the label that CrossEntropyLoss ignores


def with_negatives(classes: NDArray[np.int64], ratio: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Labels (users, items): the class of a rated item, 0 for a sampled unobserved item, else `NOT_DRAWN`.

    Unobserved items are sampled independently, with a probability that gives `ratio` of them per rated item on average
    (all of them if a user has too few).

    Args:
        classes: (users, items), 0 where not rated.
    """
    rated = classes > 0
    count = rated.sum(1, keepdims=True)
    probability = ratio * count / np.maximum(classes.shape[1] - count, 1)
    drawn = random.random(classes.shape, np.float32) < probability
    return np.where(rated | drawn, classes, NOT_DRAWN)
