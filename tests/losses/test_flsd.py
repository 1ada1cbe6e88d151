"""The sample-dependent focal loss against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import softmax

import srkd.losses

RNG = torch.Generator().manual_seed(0)


S = 2 * torch.randn(8, 5, generator=RNG, dtype=torch.float64)


LABELS = torch.randint(5, (8,), generator=RNG)
CHANCES = [softmax(row)[y] for row, y in zip(S.tolist(), LABELS.tolist(), strict=True)]


def test_flsd_takes_gamma_from_the_sample():
    assert any(p < 0.2 for p in CHANCES) and any(p >= 0.2 for p in CHANCES)
    expected = sum(-((1 - p) ** (5 if p < 0.2 else 3)) * math.log(p) for p in CHANCES) / 8
    assert srkd.losses.build("flsd")(S, LABELS).item() == pytest.approx(expected, rel=1e-9)
