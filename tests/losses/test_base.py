"""What every loss does before its formula."""

from __future__ import annotations

import pytest
import torch
from formulas import maps

import srkd.losses


def test_half_precision_teacher_with_a_float32_student():
    s, t = maps(2, 3, 4, 4, dtype=torch.float32), maps(2, 3, 4, 4, seed=1, dtype=torch.float32)
    loss = srkd.losses.build("fitnet")
    value = loss(s, t.half())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx((s - t.half().float()).square().mean().item(), rel=1e-6)
