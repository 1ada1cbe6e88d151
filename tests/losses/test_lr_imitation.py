"""The LR imitation of PISR's teacher."""

from __future__ import annotations

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError


def test_lr_imitation_is_l1_to_the_lr_image_and_raises_without_it():
    """PISR's teacher_LR_constraint_loss."""
    encoded, lr, hr = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), torch.rand(2, 3, 8, 8)
    loss = srkd.losses.build("lr_imitation")
    expected = sum(abs(a - b) for a, b in zip(encoded.flatten().tolist(), lr.flatten().tolist(), strict=True)) / 96
    assert loss(encoded, hr, hr, lr=lr).item() == pytest.approx(expected, rel=1e-6)
    for wrong in (None, hr):
        with pytest.raises(SrkdError, match=r"lr_imitation: needs lr of the shape \(2, 3, 4, 4\)"):
            loss(encoded, hr, hr, lr=wrong)
