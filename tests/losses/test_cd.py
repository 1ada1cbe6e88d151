"""Collaborative distillation against its formula; deterministic where every item is sampled."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import bce, scores

import srkd.losses

MASK = torch.rand(5, 9, generator=torch.Generator().manual_seed(2)) < 0.3


def test_cd() -> None:
    s, t = scores(0, 5, 9), scores(1, 5, 9)
    terms = [bce(s[u, i].item(), t[u, i].item() / 2) for u in range(5) for i in range(9) if not MASK[u, i]]
    loss = srkd.losses.build("cd", count=9, temperature=2.0)
    assert loss(s, t, mask=MASK).item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_cd_samples_what_the_teacher_ranks_first() -> None:
    t = torch.arange(50.0).expand(2000, 50)
    s = torch.zeros(2000, 50, requires_grad=True)
    torch.manual_seed(0)
    srkd.losses.build("cd", count=1, decay=5.0)(s, t, mask=torch.zeros(2000, 50, dtype=torch.bool)).backward()
    sampled = (s.grad != 0).double().mean(0).flip(0)
    weights = [math.exp(-r / 5) for r in range(50)]
    assert sampled[:4].tolist() == pytest.approx([w / sum(weights) for w in weights[:4]], abs=0.03)
