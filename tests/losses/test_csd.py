"""Contrastive self-distillation against its formula."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import srkd.losses
from srkd.errors import SrkdError


def test_csd(weights):
    s, t, lr = torch.rand(3, 3, 8, 8), torch.rand(3, 3, 8, 8), torch.rand(3, 3, 4, 4)
    loss = srkd.losses.build("csd", features=weights[1], negatives=2)
    bicubic = F.interpolate(lr, (8, 8), mode="bicubic").clamp(0, 1)
    expected = 0.0
    for w, a, b, n in zip((1 / 4, 1.0), *map(loss._features[0], (s, t, bicubic)), strict=True):
        for i in range(3):
            near = (a[i] - b[i]).abs().mean()
            far = (a[i] - n[i]).abs().mean() + (a[i] - n[(i + 1) % 3]).abs().mean()
            expected += w * (near / (far + 1e-6)).item() / 3
    assert loss(s, t, lr=lr).item() == pytest.approx(expected, rel=1e-5)
    assert not loss.state_dict()  # training states need no copy of frozen weights


def test_csd_needs_lr_and_a_batch_as_large_as_its_negatives(weights):
    s = torch.rand(2, 3, 8, 8)
    loss = srkd.losses.build("csd", features=weights[1], negatives=3)
    with pytest.raises(SrkdError, match="csd: needs the LR images"):
        loss(s, s)
    with pytest.raises(SrkdError, match="negatives: 3 needs a batch of at least that size, got 2"):
        loss.prepare(s, s)
