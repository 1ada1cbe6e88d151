"""Full topology against its formula, pair by pair."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError


def vectors(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


USERS, ITEMS = (vectors(4, 3, seed=0), vectors(4, 5, seed=1)), (vectors(3, 3, seed=2), vectors(3, 5, seed=3))
S, T = ([USERS[side], ITEMS[side]] for side in (0, 1))


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def test_ftd_compares_users_with_items_too() -> None:
    """Topology_Distillation_KDD21, FTD.get_TD_loss: users and items are one list of entities."""
    a, b = ([*users.tolist(), *items.tolist()] for users, items in zip(USERS, ITEMS, strict=True))
    expected = sum((cosine(b[i], b[j]) - cosine(a[i], a[j])) ** 2 for i in range(7) for j in range(7))
    loss = srkd.losses.build("ftd")
    assert loss(S, T).item() == pytest.approx(expected, rel=1e-9)
    apart = loss(S[:1], T[:1]) + loss(S[1:], T[1:])
    assert apart.item() < 0.9 * expected  # the value without user-item pairs


def test_rotating_and_scaling_the_student_changes_nothing() -> None:
    rotation, _ = torch.linalg.qr(vectors(3, 3, seed=4))
    loss = srkd.losses.build("ftd")
    assert loss([7 * s @ rotation for s in S], T).item() == pytest.approx(loss(S, T).item(), rel=1e-9)


@pytest.mark.parametrize("name", ["ftd", "htd"])
@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ([torch.zeros(2, 3, 4, 4)], [torch.zeros(2, 3, 4, 4)], r"needs vectors \(N, D\) of the same N entities"),
        ([torch.ones(2, 3)], [torch.ones(3, 3)], r"student \(2, 3\), teacher \(3, 3\)"),
        ([torch.ones(1, 3)], [torch.ones(1, 3)], "at least 2 entities"),
        (
            [torch.ones(2, 3), torch.ones(2, 4)],
            [torch.ones(2, 5)] * 2,
            r"the student's vectors have different sizes, \[3, 4\]",
        ),
    ],
)
def test_invalid_entities_raise(name: str, student: object, teacher: object, message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        srkd.losses.build(name).prepare(student, teacher)
