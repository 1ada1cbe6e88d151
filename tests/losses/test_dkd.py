"""Decoupled distillation against its formula and against `kd`."""

from __future__ import annotations

import pytest
import torch
from formulas import kl, softmax

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)


S, T = (3 * torch.randn(4, 5, generator=RNG, dtype=torch.float64) for _ in range(2))


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
def test_dkd_with_invalid_labels_raises(labels):
    with pytest.raises(SrkdError, match=r"dkd: needs labels, integers of shape \(4,\)"):
        srkd.losses.build("dkd")(S, T, labels)
