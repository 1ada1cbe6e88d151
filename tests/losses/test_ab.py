"""Activation boundary against its formula."""

from __future__ import annotations

import pytest
from formulas import assert_matches, maps

import srkd.losses


@pytest.mark.parametrize("margin", [1.0, 0.3])
def test_ab(margin):
    s, t = maps(2, 3, 4, 4).requires_grad_(), maps(2, 3, 4, 4, seed=1)
    t[0, 0] = 0
    assert_matches(
        srkd.losses.build("ab", margin=margin),
        s,
        t,
        lambda a, b: (margin - a if b > 0 else margin + a).clamp_min(0) ** 2,
    )
