"""The FFT loss against an explicit DFT."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import srkd.losses


def test_fft_loss_matches_its_formula() -> None:
    """L1 between real and imaginary parts stacked, as in ShuffleMixer's and SAFMN's code, by an explicit DFT."""
    rng = np.random.default_rng(0)
    s, t = rng.random((2, 1, 2, 4, 6))
    total, count = 0.0, 0
    for channel in s[0] - t[0]:
        for u in range(4):
            for v in range(6 // 2 + 1):
                waves = [np.exp(-2j * np.pi * (u * y / 4 + v * x / 6)) for y in range(4) for x in range(6)]
                value = sum(wave * pixel for wave, pixel in zip(waves, channel.flatten(), strict=True))
                total, count = total + abs(value.real) + abs(value.imag), count + 2
    loss = srkd.losses.build("FFTLoss")
    assert loss(torch.from_numpy(s), torch.from_numpy(t)).item() == pytest.approx(total / count, rel=1e-9)
