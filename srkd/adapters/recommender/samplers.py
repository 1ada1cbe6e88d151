"""What a network is trained on: a share of the training pairs, and unobserved items sampled as negatives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

NOT_DRAWN = -100  # the label that CrossEntropyLoss ignores


def share_of(rated: csr_matrix, share: float, random: np.random.Generator) -> csr_matrix:
    """A random share of a sparse matrix's entries."""
    pairs = rated.tocoo()
    kept = np.sort(random.permutation(pairs.nnz)[: max(1, round(share * pairs.nnz))])
    return csr_matrix((pairs.data[kept], (pairs.row[kept], pairs.col[kept])), rated.shape)


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
