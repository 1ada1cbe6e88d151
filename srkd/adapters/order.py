"""A stratified order of labelled examples: every prefix has nearly the class proportions of the whole set."""

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
