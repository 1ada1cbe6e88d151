"""Metrics against scikit-learn, and the samples of the paired statistics."""

import numpy as np
import pytest

from srkd.adapters.text import scores


def test_macro_f1_equals_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    predicted, labels = random.integers(0, 5, (2, 60))
    expected = 100 * metrics.f1_score(labels, predicted, average="macro")
    assert scores.macro_f1(predicted, labels, 5) == pytest.approx(expected)


@pytest.mark.parametrize("count", [7532, 97, 211, 1])
def test_the_mean_over_samples_is_the_accuracy(count: int) -> None:
    right = np.random.default_rng(1).random(count) < 0.7
    found = scores.accuracy_by_sample(right)
    assert len(found) <= 100 and np.mean(list(found.values())) == pytest.approx(100 * right.mean())
