"""Hierarchical topology against the official code's formula, with known Gumbel noise."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import linear, perturb, softmax

import srkd.losses


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    length = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / length


S, T = [vectors(7, 3), vectors(4, 3, seed=1)], [vectors(7, 4, seed=2), vectors(4, 4, seed=3)]


def ready(**options):
    loss = srkd.losses.build("htd", groups=3, **options)
    loss.prepare(S, T)
    return loss, perturb(loss)


def hint(state, layer, s, t, noise):
    """HTD.get_GA_loss: log of the softmax, plus Gumbel noise, over T = 0.1."""
    odds, total = linear(t, state, f"groups.{layer}.assignment"), 0.0
    hinted = [
        linear(linear(s, state, f"groups.{layer}.hints.{z}.0").clamp_min(0), state, f"groups.{layer}.hints.{z}.2")
        for z in range(3)
    ]
    for i in range(len(s)):
        alpha = softmax(odds[i].tolist())
        share = softmax([(math.log(a) + g) / 0.1 for a, g in zip(alpha, noise[i].tolist(), strict=True)])
        mixed = [sum(share[z] * hinted[z][i, d].item() for z in range(3)) for d in range(4)]
        total += sum((a - b) ** 2 for a, b in zip(mixed, t[i].tolist(), strict=True))
    return total


def relations(state):
    """HTD.get_TD_loss2: pairs of one group whose teacher similarity is positive, and prototypes to entities."""
    z = [
        k * 3 + max(range(3), key=lambda g, row=row: row[g].item())
        for k, t in enumerate(T)
        for row in linear(t, state, f"groups.{k}.assignment")
    ]
    a, b = ([row.tolist() for layer in side for row in layer] for side in (S, T))
    pairs = [(i, j) for i in range(11) for j in range(11) if z[i] == z[j]]
    total = sum((cosine(a[i], a[j]) - cosine(b[i], b[j])) ** 2 for i, j in pairs if cosine(b[i], b[j]) > 0)
    assert len(set(z)) > 2 and any(cosine(b[i], b[j]) <= 0 for i, j in pairs)
    for k in set(z):
        ours, theirs = (
            [sum(col) / z.count(k) for col in zip(*(x[i] for i in range(11) if z[i] == k), strict=True)] for x in (a, b)
        )
        total += sum((cosine(ours, a[j]) - cosine(theirs, b[j])) ** 2 for j in range(11))
    return total


def test_htd():
    loss, state = ready(balance=0.3)
    torch.manual_seed(5)
    noise = [-torch.empty(len(t), 3).exponential_().log().double() for t in T]
    hints = sum(hint(state, k, s, t, g) for k, (s, t, g) in enumerate(zip(S, T, noise, strict=True)))
    torch.manual_seed(5)
    assert loss(S, T).item() == pytest.approx(0.3 * relations(state) + 0.7 * hints, rel=1e-9)


def test_topology_trains_the_student_and_hints_train_the_groups():
    loss, _ = ready(balance=1.0)
    student = [s.clone().requires_grad_() for s in S]
    loss(student, T).backward()
    assert all(s.grad.abs().max() > 0 for s in student)
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in loss.parameters())
    loss, _ = ready(balance=0.0)
    loss(S, T).backward()
    assert all(p.grad.abs().max() > 0 for name, p in loss.named_parameters() if "assignment.weight" in name)


def test_defaults_match_the_official_code():
    found = {key: option.default for key, option in srkd.losses.options("htd").items()}
    assert found == {"groups": 30, "balance": 0.5, "temperature": 0.1}
