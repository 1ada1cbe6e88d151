"""Neuron selectivity transfer against its formula."""

from __future__ import annotations

import pytest
from formulas import maps

import srkd.losses


def test_nst():
    s, t = maps(2, 3, 3, 4), maps(2, 5, 3, 4, seed=1)

    def channels(m, n):
        return [(c / c.square().sum().sqrt()).tolist() for c in m[n].flatten(1)]

    def kernel(xs, ys):
        dots = [sum(a * b for a, b in zip(x, y, strict=True)) for x in xs for y in ys]
        return sum(d * d for d in dots) / len(dots)

    expected = 0.0
    for n in range(2):
        ours, theirs = channels(s, n), channels(t, n)
        expected += (kernel(theirs, theirs) + kernel(ours, ours) - 2 * kernel(ours, theirs)) / 2
    assert srkd.losses.build("nst")(s, t).item() == pytest.approx(expected, rel=1e-9)
