"""Accuracy and macro F1 of labels (N), in percent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from srkd.adapters.order import percent_by_sample

Labels = NDArray[np.int64]


def accuracy_by_sample(right: NDArray[np.bool_], most: int = 100) -> dict[str, float]:
    """Accuracy (%) of each of at most `most` samples of equal size; their mean is the overall accuracy.

    The assignment of documents to samples is fixed, so that runs can be compared sample by sample.
    """
    return percent_by_sample(right, np.random.default_rng(0).permutation(len(right)), most)


def macro_f1(predicted: Labels, labels: Labels, classes: int) -> float:
    """Mean over classes of 2 hits / (predicted + true), in percent; a class that occurs in neither counts as 0."""
    hits, predicted_counts, true_counts = (
        np.bincount(x, minlength=classes) for x in (labels[predicted == labels], predicted, labels)
    )
    return float(100 * (2 * hits / np.maximum(predicted_counts + true_counts, 1)).mean())
