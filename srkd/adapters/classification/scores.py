"""Likelihood and calibration metrics of class probabilities (N, C) against labels (N).

Calibration errors follow Guo et al., ICML 2017 (ECE, temperature scaling) and Mukhoti et al., NeurIPS 2020 (adaptive,
classwise ECE); all are in [0, 1], lower is better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

Values = NDArray[np.float64]
Labels = NDArray[np.int64]


def softmax(logits: Values, temperature: float = 1.0) -> Values:
    """Probabilities (N, C) of logits (N, C) divided by a temperature."""
    return np.asarray(special.softmax(logits / temperature, axis=1))


def nll(probabilities: Values, labels: Labels) -> float:
    """Mean negative log-likelihood of the true class, in nats; probabilities are clipped at 1e-12."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).mean())


def brier(probabilities: Values, labels: Labels) -> float:
    """Brier score: squared distance to the one-hot label, summed over classes, mean over images; 0 to 2."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(np.square(probabilities - truth).sum(1).mean())


def ece(probabilities: Values, labels: Labels, bins: int = 15) -> float:
    """Expected calibration error: mean |accuracy - confidence| over equal-width confidence bins, weighted by count."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    return _gap(sure, right, _bin(sure, bins), bins)


def adaptive_ece(probabilities: Values, labels: Labels, bins: int = 15) -> float:
    """`ece` with bins of equal count."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    places = np.empty(len(sure), np.int64)
    for number, members in enumerate(np.array_split(np.argsort(sure, kind="stable"), bins)):
        places[members] = number
    return _gap(sure, right, places, bins)


def classwise_ece(probabilities: Values, labels: Labels, bins: int = 15) -> float:
    """Mean over classes of the calibration error of the class's probability, in bins of equal width."""
    classes = range(probabilities.shape[1])
    gaps = [_gap(probabilities[:, c], labels == c, _bin(probabilities[:, c], bins), bins) for c in classes]
    return float(np.mean(gaps))


def reliability(probabilities: Values, labels: Labels, bins: int = 15) -> dict[str, list[float]]:
    """For each non-empty bin of `ece`: mean `confidence`, `accuracy`, and `share` (fraction of all images)."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    places = _bin(sure, bins)
    counts, sums, hits = (np.bincount(places, w, bins) for w in (None, sure, right.astype(float)))
    full = counts > 0
    return {
        "confidence": (sums[full] / counts[full]).tolist(),
        "accuracy": (hits[full] / counts[full]).tolist(),
        "share": (counts[full] / len(labels)).tolist(),
    }


def fit_temperature(logits: Values, labels: Labels) -> float:
    """The temperature in [0.05, 20] that minimises the NLL (Guo et al., ICML 2017)."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_t: nll(softmax(logits, np.exp(log_t)), labels), bounds=np.log([0.05, 20]), method="bounded"
    )
    return float(np.exp(found.x))


def _bin(values: Values, bins: int) -> NDArray[np.int64]:
    """Bin index of each value in [0, 1]; a bin includes its upper edge, and the first one 0 too."""
    return np.clip(np.ceil(values * bins).astype(np.int64) - 1, 0, bins - 1)


def _gap(sure: Values, right: NDArray[np.bool_], places: NDArray[np.int64], bins: int) -> float:
    difference = np.bincount(places, right.astype(float) - sure, bins)
    return float(np.abs(difference).sum() / len(sure))
