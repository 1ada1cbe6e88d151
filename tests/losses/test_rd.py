"""Ranking distillation against its formula, user by user."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import scores

import srkd.losses
from srkd.errors import SrkdError

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


def test_rd_weights_are_static_for_the_given_share_of_the_training() -> None:
    loss = srkd.losses.build("rd", top=3, catch_up=0.1, static=0.2)
    assert loss.needs == ("mask", "progress") and srkd.losses.build("rd", catch_up=0.1).needs == ("mask",)
    first, later = (loss(S, T, mask=MASK, progress=p).item() for p in (0.19, 0.2))
    assert first == srkd.losses.build("rd", top=3)(S, T, mask=MASK).item()
    assert later == srkd.losses.build("rd", top=3, catch_up=0.1)(S, T, mask=MASK).item() != first
    with pytest.raises(SrkdError, match="rd: static sets when catch_up starts"):
        srkd.losses.build("rd", static=0.2)
