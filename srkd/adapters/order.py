"""Fixed orders of labelled examples: a stratified one, and samples of equal size for paired statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratified(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices (N) of labels (N) in a fixed order in which every prefix has the class proportions of the whole set."""
    order = np.random.default_rng(0).permutation(len(labels))
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.asarray(order[np.argsort(rank[order], kind="stable")])


def percent_by_sample(right: NDArray[np.bool_], order: NDArray[np.int64], most: int = 100) -> dict[str, float]:
    """Accuracy (%) of each of at most `most` samples of equal size, cut from the examples in this order.

    Their mean is the overall accuracy. A fixed order lets runs be compared sample by sample.
    """
    count = max(n for n in range(1, min(most, len(right)) + 1) if len(right) % n == 0)
    return {str(i): float(100 * share) for i, share in enumerate(right[order].reshape(count, -1).mean(1))}
