"""Accuracy and macro F1 of labels (N), in percent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def accuracy_by_sample(right: NDArray[np.bool_], most: int = 100) -> dict[str, float]:
    """Accuracy (%) of each of at most `most` samples of equal size; their mean is the overall accuracy.

    The assignment of documents to samples is fixed, so that runs can be compared sample by sample.
    """
    shuffled = right[np.random.default_rng(0).permutation(len(right))]
    count = max(n for n in range(1, min(most, len(right)) + 1) if len(right) % n == 0)
    return {str(i): float(100 * share) for i, share in enumerate(shuffled.reshape(count, -1).mean(1))}


def macro_f1(predicted: Labels, labels: Labels, classes: int) -> float:
    """Mean over classes of 2 hits / (predicted + true), in percent; a class that occurs in neither counts as 0."""
    hits, predicted_counts, true_counts = (
        np.bincount(x, minlength=classes) for x in (labels[predicted == labels], predicted, labels)
    )
    return float(100 * (2 * hits / np.maximum(predicted_counts + true_counts, 1)).mean())
