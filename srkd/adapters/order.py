"""The order in which adapters take labelled examples, so that any share of them is a fair one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratified(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """A fixed order in which every beginning has all classes in the shares that they have in the whole."""
    order = np.random.default_rng(0).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return np.asarray(order[np.argsort(place[order], kind="stable")])
