"""Full topology against its formula, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses


def vectors(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def test_ftd() -> None:
    s, t = vectors(6, 3, seed=0), vectors(6, 5, seed=1)
    a, b = s.tolist(), t.tolist()
    slow = sum((cosine(b[i], b[j]) - cosine(a[i], a[j])) ** 2 for i in range(6) for j in range(6))
    assert srkd.losses.build("ftd")(s, t).item() == pytest.approx(slow, rel=1e-9)


def test_rotating_and_scaling_the_student_changes_nothing() -> None:
    s, t = vectors(6, 3, seed=0), vectors(6, 5, seed=1)
    turn, _ = torch.linalg.qr(vectors(3, 3, seed=2))
    loss = srkd.losses.build("ftd")
    assert loss(7 * s @ turn, t).item() == pytest.approx(loss(s, t).item(), rel=1e-9)


def test_maps_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"needs vectors \(N, D\) of the same N >= 2 entities"):
        srkd.losses.build("ftd").prepare(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
