"""Similarity preserving distillation against its formula."""

from __future__ import annotations

import pytest
from formulas import maps, rows, similarity

import srkd.losses


def test_value_matches_the_formula() -> None:
    s, t = maps(5, 2, 3, 3), maps(5, 4, 3, 3, seed=1) * 3 + 2
    loss = srkd.losses.build("sp")
    loss.prepare(s, t)
    assert loss(s, t).item() == pytest.approx(similarity(rows(s), rows(t)), rel=1e-9)
