"""Knowledge review: its distance by hand, and how its layers are joined."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import srkd.losses
from srkd.losses.review import hierarchical_context


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blocks(m, parts):
    """Means over parts x parts equal blocks, with loops."""
    h, w = m.shape[2] // parts, m.shape[3] // parts
    rows = [[m[:, :, i * h : i * h + h, j * w : j * w + w].mean((2, 3)) for j in range(parts)] for i in range(parts)]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def test_hcl_weighs_full_4_2_and_1():
    s, t = maps(2, 3, 8, 8), maps(2, 3, 8, 8, seed=1)
    parts = [(1.0, 8), (0.5, 4), (0.25, 2), (0.125, 1)]
    expected = sum(w * (blocks(s, p) - blocks(t, p)).square().mean() for w, p in parts) / 1.875
    assert hierarchical_context(s, t).item() == pytest.approx(expected.item(), rel=1e-9)


def test_hcl_leaves_out_levels_that_a_map_is_too_small_for():
    s, t = maps(2, 3, 4, 4), maps(2, 3, 4, 4, seed=1)
    parts = [(1.0, 4), (0.5, 2), (0.25, 1)]
    expected = sum(w * (blocks(s, p) - blocks(t, p)).square().mean() for w, p in parts) / 1.75
    assert hierarchical_context(s, t).item() == pytest.approx(expected.item(), rel=1e-9)


def test_value_from_its_own_parts():
    s, t = [maps(2, 3, 8, 8), maps(2, 4, 4, 4, seed=1)], [maps(2, 5, 8, 8, seed=2), maps(2, 6, 4, 4, seed=3)]
    loss = srkd.losses.build("review")
    loss.prepare(s, t)
    shallow, deep = loss.fusions
    below = deep.enter(s[1])
    here, up = shallow.enter(s[0]), F.interpolate(below, scale_factor=2, mode="nearest")
    share = torch.sigmoid(shallow.attention(torch.cat((here, up), 1)))
    mixed = here * share[:, 0:1] + up * share[:, 1:2]
    assert mixed.shape[1] == 4  # the channels of the student's deepest layer
    expected = hierarchical_context(deep.leave(below), t[1]) + hierarchical_context(shallow.leave(mixed), t[0])
    assert loss(s, t).item() == pytest.approx(expected.item(), rel=1e-9)


def test_a_deep_layer_learns_from_the_shallow_target_too():
    s = [maps(2, 3, 8, 8).requires_grad_(), maps(2, 4, 4, 4, seed=1).requires_grad_()]
    t = [maps(2, 5, 8, 8, seed=2), maps(2, 6, 4, 4, seed=3)]
    loss = srkd.losses.build("review", channels=7)
    loss.prepare(s, t)
    with torch.no_grad():
        t[1] = loss.fusions[1](s[1], None)[0].clone()  # the deep target is met exactly
    loss(s, t).backward()
    assert s[1].grad.abs().max() > 0


def test_different_numbers_of_layers_are_refused_in_words():
    with pytest.raises(ValueError, match="as many layers a side, got 2 of the student and 1 of the teacher"):
        srkd.losses.build("review").prepare([maps(2, 3, 4, 4)] * 2, [maps(2, 3, 4, 4)])
