"""Distillation experts against their formula, entity by entity, with known Gumbel noise."""

from __future__ import annotations

from itertools import product

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError


def vectors(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_de(progress: float) -> None:
    s, t = vectors(7, 3, seed=0), vectors(7, 6, seed=1)
    torch.manual_seed(0)
    loss = srkd.losses.build("de", experts=3, first=2.0, last=0.02)
    loss.prepare(s, t, progress=0.0)
    torch.manual_seed(5)
    noise = -torch.empty(7, 3).exponential_().log()
    temperature = {0.0: 2.0, 0.5: 0.2, 1.0: 0.02}[progress]
    expected = 0.0
    for n in range(7):
        odds = [(o + e).item() / temperature for o, e in zip(loss.gate(t[n]), noise[n], strict=True)]
        shares = torch.tensor(odds, dtype=torch.float64).softmax(0)
        rebuilt = sum(g * expert(s[n]) for g, expert in zip(shares, loss.experts, strict=True))
        expected += sum((a - b) ** 2 for a, b in zip(t[n].tolist(), rebuilt.tolist(), strict=True))
    torch.manual_seed(5)
    assert loss(s, t, progress=progress).item() == pytest.approx(expected, rel=1e-9)


def test_a_single_expert_is_selected_at_the_end() -> None:
    s, t = vectors(7, 3, seed=0), vectors(7, 6, seed=1)
    torch.manual_seed(0)
    loss = srkd.losses.build("de", experts=3)
    loss.prepare(s, t, progress=0.0)
    value = loss(s, t, progress=1.0).item()
    predictions = torch.stack([expert(s) for expert in loss.experts], 1)
    errors = (t[:, None] - predictions).square().sum(2)
    totals = [sum(errors[n, k].item() for n, k in enumerate(choice)) for choice in product(range(3), repeat=7)]
    assert min(abs(value - total) for total in totals) < 1e-9


def test_experts_and_gate_get_gradients() -> None:
    s, t = vectors(7, 3, seed=0), vectors(7, 6, seed=1)
    loss = srkd.losses.build("de", experts=2)
    loss.prepare(s, t, progress=0.0)
    loss(s, t, progress=0.0).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in loss.parameters())


def test_maps_raise() -> None:
    with pytest.raises(SrkdError, match=r"needs vectors \(N, D\) of the same N entities"):
        srkd.losses.build("de").prepare(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), progress=0.0)
