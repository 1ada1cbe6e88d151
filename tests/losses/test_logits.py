"""Distillation of class probabilities against the formulas written out."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses

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
