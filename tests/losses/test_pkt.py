"""Probabilistic knowledge transfer against its formula."""

from __future__ import annotations

import math

import pytest
from formulas import cosines, maps

import srkd.losses


def test_pkt():
    s, t = maps(4, 2, 3, 3), maps(4, 5, 3, 3, seed=1)

    def chances(x):
        shifted = [[(v + 1) / 2 for v in row] for row in cosines(x)]
        return [v / sum(row) for row in shifted for v in row]

    expected = sum(q * math.log(q / p) for p, q in zip(chances(s), chances(t), strict=True)) / 16
    assert srkd.losses.build("pkt")(s, t).item() == pytest.approx(expected, rel=1e-9)
