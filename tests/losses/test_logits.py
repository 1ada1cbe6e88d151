"""Distillation of class probabilities against the formulas written out."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)
S, T = (3 * torch.randn(4, 5, generator=RNG, dtype=torch.float64) for _ in range(2))


def softmax(row, temperature):
    exps = [math.exp(x / temperature) for x in row]
    return [e / sum(exps) for e in exps]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_kd():
    expected = sum(kl(softmax(t, 4), softmax(s, 4)) for s, t in zip(S.tolist(), T.tolist(), strict=True)) / 4 * 16
    assert srkd.losses.build("kd")(S, T).item() == pytest.approx(expected, rel=1e-9)


def test_kd_on_positions_is_the_mean_over_them():
    s, t = S.T.reshape(1, 5, 2, 2), T.T.reshape(1, 5, 2, 2)
    loss = srkd.losses.build("kd", temperature=2.0)
    assert loss(s, t).item() == pytest.approx(loss(S, T).item(), rel=1e-12)


def test_logits_of_different_shape_are_refused_in_words():
    with pytest.raises(ValueError, match=r"one shape, got student \(4, 5\), teacher \(4, 3\)"):
        srkd.losses.build("kd").prepare(S, T[:, :3])


LABELS = torch.tensor([0, 4, 2, 2])


def dkd(alpha, beta, temperature):
    total = 0.0
    for s, t, y in zip(S.tolist(), T.tolist(), LABELS.tolist(), strict=True):
        p, q = softmax(t, temperature), softmax(s, temperature)
        target_part = kl([p[y], 1 - p[y]], [q[y], 1 - q[y]])
        others = [[x / (1 - full[y]) for c, x in enumerate(full) if c != y] for full in (p, q)]
        total += alpha * target_part + beta * kl(*others)
    return total / 4 * temperature**2


@pytest.mark.parametrize("options", [(1.0, 8.0, 4.0), (0.5, 0.0, 2.0)])
def test_dkd(options):
    alpha, beta, temperature = options
    loss = srkd.losses.build("dkd", alpha=alpha, beta=beta, temperature=temperature)
    assert loss(S, T, LABELS).item() == pytest.approx(dkd(*options), rel=1e-9)


def test_dkd_with_the_coupled_weights_is_kd():
    # Hinton's KD is TCKD + (1 - p_true) NCKD: with one sample the weights can be set by hand.
    p = softmax(T[0].tolist(), 4)[0]
    kd, dkd = srkd.losses.build("kd"), srkd.losses.build("dkd", alpha=1.0, beta=1 - p)
    assert dkd(S[:1], T[:1], LABELS[:1]).item() == pytest.approx(kd(S[:1], T[:1]).item(), rel=1e-9)


def test_dkd_on_positions():
    s, t, labels = S.T.reshape(1, 5, 2, 2), T.T.reshape(1, 5, 2, 2), LABELS.reshape(1, 2, 2)
    assert srkd.losses.build("dkd")(s, t, labels).item() == pytest.approx(dkd(1.0, 8.0, 4.0), rel=1e-9)


@pytest.mark.parametrize("labels", [None, torch.zeros(4), torch.zeros(3, dtype=torch.long)])
def test_dkd_says_which_labels_it_needs(labels):
    with pytest.raises(SrkdError, match=r"dkd: needs labels, whole numbers of shape \(4,\)"):
        srkd.losses.build("dkd")(S, T, labels)


def test_dkd_of_one_class_is_refused():
    with pytest.raises(ValueError, match="at least 2 classes"):
        srkd.losses.build("dkd").prepare(S[:, :1], T[:, :1])
