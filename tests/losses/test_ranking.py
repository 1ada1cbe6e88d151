"""Ranking distillation against its formulas, user by user."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.losses.ranking import relaxed_ranking


def scores(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


S, T = scores(0, 5, 9), scores(1, 5, 9)
MASK = torch.rand(5, 9, generator=torch.Generator().manual_seed(2)) < 0.3


def ranking(x: torch.Tensor, u: int) -> list[int]:
    return sorted((i for i in range(9) if not MASK[u, i]), key=lambda i: -x[u, i].item())


@pytest.mark.parametrize("catch_up", [0.0, 0.4])
def test_rd(catch_up: float) -> None:
    weights = [math.exp(-r / 2) / sum(math.exp(-q / 2) for q in range(3)) for r in range(3)]
    slow = 0.0
    for u in range(5):
        for r, i in enumerate(ranking(T, u)[:3]):
            behind = max(math.tanh(catch_up * (ranking(S, u).index(i) - r)), 0) if catch_up else 1
            slow += weights[r] * behind * math.log1p(math.exp(-S[u, i].item())) / 5
    loss = srkd.losses.build("rd", top=3, decay=2.0, catch_up=catch_up)
    assert slow > 0 and loss(S, T, mask=MASK).item() == pytest.approx(slow, rel=1e-9)


def test_relaxed_ranking() -> None:
    above, below = scores(3, 2, 4), scores(4, 2, 3)
    for u in range(2):
        for k in range(4):
            rest = sum(math.exp(x) for x in [*above[u, k:].tolist(), *below[u].tolist()])
            term = -(above[u, k].item() - math.log(rest))
            assert relaxed_ranking(above, below)[u, k].item() == pytest.approx(term, rel=1e-9)


def test_rrd_of_all_items_is_the_likelihood_of_the_teachers_whole_ranking() -> None:
    slow = 0.0
    for u in range(5):
        order = [S[u, i].item() for i in ranking(T, u)]
        slow -= sum(s - math.log(sum(map(math.exp, order[k:]))) for k, s in enumerate(order))
    assert srkd.losses.build("rrd", interesting=9)(S, T, mask=MASK).item() == pytest.approx(slow, rel=1e-9)


def test_rrd_lowers_what_is_not_interesting_and_leaves_alone_what_was_rated() -> None:
    student = S.clone().requires_grad_()
    srkd.losses.build("rrd", interesting=2, uninteresting=9, decay=0.01)(student, T, mask=MASK).backward()
    for u in range(5):
        best, *rest = ranking(T, u)
        assert student.grad[u, best] < 0 and all(student.grad[u, i] > 0 for i in rest[1:])
    assert (student.grad[MASK] == 0).all()


@pytest.mark.parametrize("name", ["rd", "rrd", "cd", "bd"])
def test_a_user_who_rated_everything_counts_nothing(name: str) -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    student = torch.randn(1, 4, requires_grad=True)
    value = srkd.losses.build(name)(student, torch.randn(1, 4), mask=mask)
    value.backward()
    assert value.item() == 0 and (student.grad == 0).all()
