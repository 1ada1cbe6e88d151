"""Focal loss against its formula and against cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import softmax

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)


S = 2 * torch.randn(8, 5, generator=RNG, dtype=torch.float64)


LABELS = torch.randint(5, (8,), generator=RNG)
CHANCES = [softmax(row)[y] for row, y in zip(S.tolist(), LABELS.tolist(), strict=True)]


@pytest.mark.parametrize("gamma", [0.5, 2, 3])
def test_focal(gamma):
    expected = sum(-((1 - p) ** gamma) * math.log(p) for p in CHANCES) / 8
    assert srkd.losses.build("focal", gamma=gamma)(S, LABELS).item() == pytest.approx(expected, rel=1e-9)


def test_focal_with_gamma_zero_is_cross_entropy():
    expected = torch.nn.functional.cross_entropy(S, LABELS)
    assert srkd.losses.build("focal", gamma=0)(S, LABELS).item() == pytest.approx(expected.item(), rel=1e-9)


def test_confident_samples_have_a_finite_gradient_at_a_fractional_power():
    s = torch.tensor([[100.0, 0.0]], requires_grad=True)
    srkd.losses.build("focal", gamma=0.5)(s, torch.tensor([0])).backward()
    assert s.grad.isfinite().all()


def test_labels_of_another_shape_raise():
    with pytest.raises(SrkdError, match=r"focal: needs labels, .* of shape \(8,\), got torch.int64 of shape \(3,\)"):
        srkd.losses.build("focal")(S, LABELS[:3])
