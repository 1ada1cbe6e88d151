"""What a step looks at: every rated item of its users and some unobserved ones, drawn on the item matrix at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOT_DRAWN = -100  # the label that CrossEntropyLoss passes over


def with_negatives(classes: NDArray[np.int64], ratio: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Labels (users, items): the class where an item is rated, 0 where it was drawn as unobserved, else `NOT_DRAWN`.

    Each unobserved item is drawn by itself, with the chance that makes `ratio` of them for each rated one on average
    (all of them where a user has too few).

    Args:
        classes: (users, items), 0 where there is no rating.
    """
    rated = classes > 0
    number = rated.sum(1, keepdims=True)
    chance = ratio * number / np.maximum(classes.shape[1] - number, 1)
    drawn = random.random(classes.shape, np.float32) < chance
    return np.where(rated | drawn, classes, NOT_DRAWN)
