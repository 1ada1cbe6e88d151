"""Focal losses against their formulas and against cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)
S = 2 * torch.randn(8, 5, generator=RNG, dtype=torch.float64)
LABELS = torch.randint(5, (8,), generator=RNG)


def probabilities():
    for row, y in zip(S.tolist(), LABELS.tolist(), strict=True):
        exps = [math.exp(x) for x in row]
        yield exps[y] / sum(exps)


@pytest.mark.parametrize("gamma", [0.5, 2, 3])
def test_focal(gamma):
    expected = sum(-((1 - p) ** gamma) * math.log(p) for p in probabilities()) / 8
    assert srkd.losses.build("focal", gamma=gamma)(S, LABELS).item() == pytest.approx(expected, rel=1e-9)


def test_focal_with_gamma_zero_is_cross_entropy():
    expected = torch.nn.functional.cross_entropy(S, LABELS)
    assert srkd.losses.build("focal", gamma=0)(S, LABELS).item() == pytest.approx(expected.item(), rel=1e-9)


def test_flsd_takes_gamma_from_the_sample():
    chances = list(probabilities())
    assert any(p < 0.2 for p in chances) and any(p >= 0.2 for p in chances)
    expected = sum(-((1 - p) ** (5 if p < 0.2 else 3)) * math.log(p) for p in chances) / 8
    assert srkd.losses.build("flsd")(S, LABELS).item() == pytest.approx(expected, rel=1e-9)


def test_confident_samples_have_a_finite_gradient_at_a_fractional_power():
    s = torch.tensor([[100.0, 0.0]], requires_grad=True)
    srkd.losses.build("focal", gamma=0.5)(s, torch.tensor([0])).backward()
    assert s.grad.isfinite().all()


def test_labels_of_another_shape_raise():
    with pytest.raises(SrkdError, match=r"focal: needs labels, .* of shape \(8,\), got torch.int64 of shape \(3,\)"):
        srkd.losses.build("focal")(S, LABELS[:3])
