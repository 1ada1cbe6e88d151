"""Metrics against slow references, bounds and known cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from srkd.adapters.classification import scores

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 2, (500, 4))
LABELS = RANDOM.integers(0, 4, 500)
P = scores.softmax(LOGITS)


def slow_ece(sure, right, bins=15):
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(sure) if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            confidence = sum(sure[i] for i in inside) / len(inside)
            total += len(inside) / len(sure) * abs(accuracy - confidence)
    return total


def test_ece_adaptive_and_classwise_equal_slow_references():
    sure, right = P.max(1), P.argmax(1) == LABELS
    assert scores.ece(P, LABELS) == pytest.approx(slow_ece(sure, right))
    order = sorted(range(500), key=lambda i: sure[i])
    groups = [g.tolist() for g in np.array_split(order, 15)]
    slow = sum(abs(sum(right[i] - sure[i] for i in g)) for g in groups) / 500
    assert scores.adaptive_ece(P, LABELS) == pytest.approx(slow)
    slow = sum(slow_ece(P[:, c], c == LABELS) for c in range(4)) / 4
    assert scores.classwise_ece(P, LABELS) == pytest.approx(slow)


def test_nll_and_brier_equal_slow_references():
    rows = list(zip(P, LABELS, strict=True))
    assert scores.nll(P, LABELS) == pytest.approx(sum(-math.log(p[y]) for p, y in rows) / 500)
    slow = sum(sum((p[c] - (c == y)) ** 2 for c in range(4)) for p, y in rows) / 500
    assert scores.brier(P, LABELS) == pytest.approx(slow)


def test_softmax_is_stable():
    assert np.allclose(scores.softmax(np.array([[1e5, 0.0], [-1e5, 0.0]])), [[1, 0], [0, 1]])


def test_known_cases():
    certain = np.eye(4)[LABELS]
    assert scores.ece(certain, LABELS) == scores.brier(certain, LABELS) == scores.nll(certain, LABELS) == 0
    wrong = np.eye(4)[(LABELS + 1) % 4]
    assert scores.ece(wrong, LABELS) == 1 and scores.brier(wrong, LABELS) == 2
    half = np.tile([0.5, 0.5], (10, 1))
    assert scores.ece(half, np.array([0, 1] * 5)) == pytest.approx(0)


def test_calibrated_predictions_have_a_small_ece():
    drawn = np.array([RANDOM.choice(4, p=p) for p in np.tile(P, (20, 1))])
    assert scores.ece(np.tile(P, (20, 1)), drawn) < 0.02


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_fit_temperature_recovers_the_true_temperature(true):
    logits = np.tile(LOGITS, (20, 1))
    drawn = np.array([RANDOM.choice(4, p=p) for p in scores.softmax(logits, true)])
    found = scores.fit_temperature(logits, drawn)
    assert found == pytest.approx(true, rel=0.1)
    assert scores.nll(scores.softmax(logits, found), drawn) <= scores.nll(scores.softmax(logits, true), drawn)


def test_reliability_diagram_is_consistent_with_ece():
    bins = scores.reliability(P, LABELS)
    gaps = [abs(a - c) * s for a, c, s in zip(bins["accuracy"], bins["confidence"], bins["share"], strict=True)]
    assert sum(gaps) == pytest.approx(scores.ece(P, LABELS)) and sum(bins["share"]) == pytest.approx(1)
