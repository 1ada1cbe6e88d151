"""Soft labels on drawn items against their formulas; where every item is drawn, chance has no part."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses


def scores(seed: int) -> torch.Tensor:
    return torch.randn(5, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MASK = torch.rand(5, 9, generator=torch.Generator().manual_seed(2)) < 0.3


def bce(s: float, t: float) -> float:
    p, q = 1 / (1 + math.exp(-s)), 1 / (1 + math.exp(-t))
    return -(q * math.log(p) + (1 - q) * math.log(1 - p))


def test_cd() -> None:
    s, t = scores(0), scores(1)
    terms = [bce(s[u, i].item(), t[u, i].item() / 2) for u in range(5) for i in range(9) if not MASK[u, i]]
    loss = srkd.losses.build("cd", count=9, temperature=2.0)
    assert loss(s, t, mask=MASK).item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_cd_draws_what_the_teacher_ranks_first() -> None:
    t = torch.arange(50.0).expand(2000, 50)
    s = torch.zeros(2000, 50, requires_grad=True)
    torch.manual_seed(0)
    srkd.losses.build("cd", count=1, decay=5.0)(s, t, mask=torch.zeros(2000, 50, dtype=torch.bool)).backward()
    drawn = (s.grad != 0).double().mean(0).flip(0)
    wanted = [math.exp(-r / 5) for r in range(50)]
    assert drawn[:4].tolist() == pytest.approx([w / sum(wanted) for w in wanted[:4]], abs=0.03)


def test_bd() -> None:
    own, other = scores(0), scores(1)

    def rank(x: torch.Tensor, u: int, i: int) -> int:
        return sum(x[u, j].item() > x[u, i].item() for j in range(9) if not MASK[u, j])

    terms = [bce(own[u, i].item(), other[u, i].item()) for u in range(5) for i in range(9)
             if not MASK[u, i] and rank(own, u, i) > rank(other, u, i)]  # fmt: skip
    assert 0 < len(terms) < (~MASK).sum()
    assert srkd.losses.build("bd", count=9)(own, other, mask=MASK).item() == pytest.approx(
        sum(terms) / len(terms), rel=1e-9
    )


def test_bd_draws_by_how_far_the_rankings_differ() -> None:
    own, other = torch.tensor([3.0, 2.0, 1.0, 0.0]), torch.tensor([2.0, 0.0, 3.0, 1.0])
    s = own.repeat(4000, 1).requires_grad_()
    torch.manual_seed(0)
    loss = srkd.losses.build("bd", count=1, eps=0.5)
    loss(s, other.repeat(4000, 1), mask=torch.zeros(4000, 4, dtype=torch.bool)).backward()
    drawn = (s.grad != 0).double().mean(0).tolist()
    gaps = [math.tanh(0.5 * gap) for gap in (0, 0, 2, 1)]
    assert drawn == pytest.approx([g / sum(gaps) for g in gaps], abs=0.03)


def test_bd_of_equal_rankings_is_zero() -> None:
    s = scores(0)
    assert srkd.losses.build("bd")(2 * s, s, mask=MASK).item() == 0
