"""Ranking distillation against its formula, user by user."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses


def test_rd() -> None:
    rng = torch.Generator().manual_seed(0)
    s, t = (torch.randn(5, 9, generator=rng, dtype=torch.float64) for _ in range(2))
    mask = torch.rand(5, 9, generator=rng) < 0.3
    weights = [math.exp(-r / 2) / sum(math.exp(-q / 2) for q in range(3)) for r in range(3)]
    slow = 0.0
    for u in range(5):
        best = sorted((i for i in range(9) if not mask[u, i]), key=lambda i: -t[u, i].item())[:3]
        slow += sum(w * math.log1p(math.exp(-s[u, i].item())) for w, i in zip(weights, best, strict=True)) / 5
    assert srkd.losses.build("rd", top=3, decay=2.0)(s, t, mask=mask).item() == pytest.approx(slow, rel=1e-9)


def test_a_user_who_rated_everything_counts_nothing() -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert srkd.losses.build("rd")(torch.randn(1, 4), torch.randn(1, 4), mask=mask).item() == 0
