"""Hierarchical topology: its value from its own parts, with the draw of the groups known."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    length = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / length if length else 0.0


def test_htd():
    s, t, groups = vectors(7, 3), vectors(7, 4, seed=1), 3
    torch.manual_seed(0)
    loss = srkd.losses.build("htd", groups=groups, balance=0.3)
    loss.prepare(s, t)
    torch.manual_seed(5)
    noise = -torch.empty(7, groups, dtype=torch.float64).exponential_().log()
    z = (loss.assignment(t) + noise).argmax(1).tolist()
    assert len(set(z)) > 1

    hinted = loss.hints(s).reshape(7, groups, 4)
    hint = sum((hinted[i, z[i]] - t[i]).square().mean() for i in range(7)).item() / 7
    a, b = s.tolist(), t.tolist()
    pairs = [(i, j) for i in range(7) for j in range(7) if z[i] == z[j]]
    within = sum((cosine(a[i], a[j]) - cosine(b[i], b[j])) ** 2 for i, j in pairs) / len(pairs)

    def centres(x):
        members = [[x[i] for i in range(7) if z[i] == k] for k in range(groups)]
        return [[sum(col) / len(m) for col in zip(*m, strict=True)] if m else [0.0] * len(x[0]) for m in members]

    ours, theirs = centres(a), centres(b)
    between = sum(
        (cosine(ours[k], ours[m]) - cosine(theirs[k], theirs[m])) ** 2 for k in range(groups) for m in range(groups)
    ) / groups**2  # fmt: skip
    torch.manual_seed(5)
    assert loss(s, t).item() == pytest.approx(0.3 * (within + between) + 0.7 * hint, rel=1e-9)


def test_the_groups_learn_through_the_hint():
    s, t = vectors(7, 3), vectors(7, 4, seed=1)
    loss = srkd.losses.build("htd", groups=3)
    loss.prepare(s, t)
    loss(s, t).backward()
    assert loss.assignment.weight.grad.abs().max() > 0 and loss.hints.weight.grad.abs().max() > 0


def test_maps_are_refused_in_words():
    with pytest.raises(ValueError, match=r"needs vectors \(N, D\) of the same N >= 2 entities"):
        srkd.losses.build("htd").prepare(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
