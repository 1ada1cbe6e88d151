"""Knowledge review: its distance, the fusion of layers, with and without BatchNorm."""

from __future__ import annotations

import pytest
import torch
from formulas import batch_norm, blocks, convolution, maps, nearest, perturb

import srkd.losses
from srkd.errors import SrkdError
from srkd.losses.review import hierarchical_context

HCL = {8: [(1.0, 8), (0.5, 4), (0.25, 2), (0.125, 1)], 4: [(1.0, 4), (0.5, 2), (0.25, 1)]}


def hcl(s, t):
    levels = HCL[s.shape[2]]
    return sum(w * (blocks(s, p) - blocks(t, p)).square().mean() for w, p in levels) / sum(w for w, _ in levels)


@pytest.mark.parametrize("side", [8, 4])
def test_hcl_weights_levels_and_skips_those_too_large_for_the_map(side):
    s, t = maps(2, 3, side, side), maps(2, 3, side, side, seed=1)
    assert hierarchical_context(s, t).item() == pytest.approx(hcl(s, t).item(), rel=1e-9)


@pytest.mark.parametrize("norm", [False, True])
def test_value_matches_the_official_code(norm):
    """dvlab-research/ReviewKD, ABF and hcl: here the teacher's deep map is larger than the student's."""
    s, t = [maps(2, 3, 8, 8), maps(2, 4, 4, 4, seed=1)], [maps(2, 5, 8, 8, seed=2), maps(2, 6, 8, 8, seed=3)]
    loss = srkd.losses.build("review", batch_norm=norm)
    loss.prepare(s, t)
    state = perturb(loss)
    assert ("fusions.0.enter.bias" in state) != norm

    def layer(x, name):
        if not norm:
            return convolution(x, state, name)
        return batch_norm(convolution(x, state, f"{name}.0"), state, f"{name}.1")

    deep = nearest(layer(s[1], "fusions.1.enter"), 8, 8)
    here = layer(s[0], "fusions.0.enter")
    share = 1 / (1 + (-convolution(torch.cat((here, deep), 1), state, "fusions.0.attention")).exp())
    mixed = here * share[:, 0:1] + deep * share[:, 1:2]
    assert mixed.shape[1] == 4  # the channels of the student's deepest layer
    expected = hcl(layer(deep, "fusions.1.leave"), t[1]) + hcl(layer(mixed, "fusions.0.leave"), t[0])
    assert loss(s, t).item() == pytest.approx(expected.item(), rel=1e-8)


@pytest.mark.parametrize("name", ["review", "ofd"])
@pytest.mark.parametrize(
    ("option", "student", "expected"),
    [(None, False, False), (None, True, True), (False, True, False), (True, False, True)],
)
def test_batch_norm_follows_the_student_unless_the_option_is_set(name, option, student, expected):
    s, t = maps(2, 3, 8, 8), maps(2, 5, 8, 8)
    loss = srkd.losses.build(name, batch_norm=option)
    sides = ([s], [t]) if loss.layers == "list" else (s, t)
    loss.prepare(*sides, batch_norm=student)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in loss.modules()) == expected


def test_a_deep_layer_also_gets_gradients_from_the_shallow_target():
    s = [maps(2, 3, 8, 8).requires_grad_(), maps(2, 4, 4, 4, seed=1).requires_grad_()]
    t = [maps(2, 5, 8, 8, seed=2), maps(2, 6, 4, 4, seed=3)]
    loss = srkd.losses.build("review", channels=7)
    loss.prepare(s, t)
    with torch.no_grad():
        t[1] = loss.fusions[1](s[1], None, t[1].shape[2:])[0].clone()  # the deep target is matched exactly
    loss(s, t).backward()
    assert s[1].grad.abs().max() > 0


def test_different_numbers_of_layers_raise():
    with pytest.raises(SrkdError, match="same number of layers per side, got 2 of the student and 1 of the teacher"):
        srkd.losses.build("review").prepare([maps(2, 3, 4, 4)] * 2, [maps(2, 3, 4, 4)])
