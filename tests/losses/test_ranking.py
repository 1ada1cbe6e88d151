"""Ranking distillation against its formulas, user by user."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError
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
    expected = 0.0
    for u in range(5):
        for r, i in enumerate(ranking(T, u)[:3]):
            behind = max(math.tanh(catch_up * (ranking(S, u).index(i) - r)), 0) if catch_up else 1
            expected += weights[r] * behind * math.log1p(math.exp(-S[u, i].item())) / 5
    assert srkd.losses.options("rd")["decay"].default == 1.0  # graytowne/rank_distill
    loss = srkd.losses.build("rd", top=3, decay=2.0, catch_up=catch_up)
    assert expected > 0 and loss(S, T, mask=MASK).item() == pytest.approx(expected, rel=1e-9)


def test_relaxed_ranking() -> None:
    above, below = scores(3, 2, 4), scores(4, 2, 3)
    for u in range(2):
        for k in range(4):
            rest = sum(math.exp(x) for x in [*above[u, k:].tolist(), *below[u].tolist()])
            term = -(above[u, k].item() - math.log(rest))
            assert relaxed_ranking(above, below)[u, k].item() == pytest.approx(term, rel=1e-9)


def test_rd_weights_are_static_for_the_given_share_of_the_training() -> None:
    loss = srkd.losses.build("rd", top=3, catch_up=0.1, static=0.2)
    assert loss.needs == ("mask", "progress") and srkd.losses.build("rd", catch_up=0.1).needs == ("mask",)
    first, later = (loss(S, T, mask=MASK, progress=p).item() for p in (0.19, 0.2))
    assert first == srkd.losses.build("rd", top=3)(S, T, mask=MASK).item()
    assert later == srkd.losses.build("rd", top=3, catch_up=0.1)(S, T, mask=MASK).item() != first
    with pytest.raises(SrkdError, match="rd: static sets when catch_up starts"):
        srkd.losses.build("rd", static=0.2)


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


@pytest.mark.parametrize("name", ["rd", "rrd", "cd", "bd"])
def test_a_user_who_rated_everything_is_ignored(name: str) -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    student = torch.randn(1, 4, requires_grad=True)
    value = srkd.losses.build(name)(student, torch.randn(1, 4), mask=mask)
    value.backward()
    assert value.item() == 0 and (student.grad == 0).all()


@pytest.mark.parametrize("name", ["rd", "rrd", "cd", "bd"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"needs the keyword mask: call it with mask=\.\.\."),
        ({"mask": MASK[:1]}, r"needs a boolean mask of shape \(5, 9\), got torch.bool of shape \(1, 9\)"),
        ({"mask": MASK.float()}, r"needs a boolean mask of shape \(5, 9\), got torch.float32"),
    ],
)
def test_a_missing_or_invalid_mask_raises(name: str, given: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(SrkdError, match=f"^{name}: {message}"):
        srkd.losses.build(name)(S, T, **given)
