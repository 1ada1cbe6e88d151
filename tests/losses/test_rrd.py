"""Relaxed ranking distillation against its formula, user by user."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import scores

import srkd.losses
from srkd.losses.rrd import relaxed_ranking

S, T = scores(0, 5, 9), scores(1, 5, 9)


MASK = torch.rand(5, 9, generator=torch.Generator().manual_seed(2)) < 0.3


def ranking(x: torch.Tensor, u: int) -> list[int]:
    return sorted((i for i in range(9) if not MASK[u, i]), key=lambda i: -x[u, i].item())


def test_relaxed_ranking() -> None:
    above, below = scores(3, 2, 4), scores(4, 2, 3)
    for u in range(2):
        for k in range(4):
            rest = sum(math.exp(x) for x in [*above[u, k:].tolist(), *below[u].tolist()])
            term = -(above[u, k].item() - math.log(rest))
            assert relaxed_ranking(above, below)[u, k].item() == pytest.approx(term, rel=1e-9)


def test_rrd_of_the_whole_list_and_all_below_it_is_the_official_likelihood() -> None:
    """DE-RRD_CIKM20, relaxed_ranking_loss: here every item is sampled: the list is half of the unobserved items."""
    expected = 0.0
    for u in range(5):
        order = [S[u, i].item() for i in ranking(T, u)]
        length = (len(order) + 1) // 2
        below = sum(map(math.exp, order[length:]))
        expected -= sum(s - math.log(sum(map(math.exp, order[k:length])) + below) for k, s in enumerate(order[:length]))
    assert srkd.losses.build("rrd")(S, T, mask=MASK).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("top", "length"), [(500, 5), (3, 3)])
def test_rrd_pushes_down_only_what_is_below_the_teachers_list(top: int, length: int) -> None:
    """Also if only one item of the list is sampled as interesting: the others get no gradient."""
    none = torch.zeros_like(MASK)
    student = S.clone().requires_grad_()
    loss = srkd.losses.build("rrd", interesting=1, uninteresting=9, decay=0.01, top=top)
    loss(student, T, mask=none).backward()
    for u in range(5):
        order = sorted(range(9), key=lambda i: -T[u, i].item())
        assert student.grad[u, order[0]] < 0 and all(student.grad[u, i] == 0 for i in order[1:length])
        assert all(student.grad[u, i] > 0 for i in order[length:])


def test_rrd_gives_rated_items_no_gradient() -> None:
    student = S.clone().requires_grad_()
    srkd.losses.build("rrd")(student, T, mask=MASK).backward()
    assert (student.grad[MASK] == 0).all() and (student.grad[~MASK] != 0).any()
