"""The PSNR loss against NAFNet's formula."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)


S, T = (torch.rand(2, 3, 4, 5, generator=RNG, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("to_y", [False, True])
def test_psnr_loss_matches_nafnets_formula(to_y: bool) -> None:
    def mse(a: torch.Tensor, b: torch.Tensor) -> float:
        if to_y:
            weights = (65.481, 128.553, 24.966)
            a, b = ((16 + sum(w * x[c] for c, w in enumerate(weights))) / 255 for x in (a, b))
        return ((a - b) ** 2).mean().item()

    expected = sum(10 * math.log10(mse(a, b) + 1e-8) for a, b in zip(S, T, strict=True)) / len(S)
    assert srkd.losses.build("PSNRLoss", toY=to_y)(S, T).item() == pytest.approx(expected, rel=1e-9)
    assert srkd.losses.build("PSNRLoss", toY=to_y)(S, S).item() == pytest.approx(-80)
    if to_y:
        with pytest.raises(SrkdError, match=r"needs images \(N, 3, H, W\)"):
            srkd.losses.build("PSNRLoss", toY=True)(S[:, :1], T[:, :1])
