"""Pixel distances against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)
S, T = (torch.rand(2, 3, 4, 5, generator=RNG, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize(
    ("norm", "distance"),
    [
        ("l1", lambda d: abs(d)),
        ("l2", lambda d: d * d),
        ("charbonnier", lambda d: math.sqrt(d * d + 1e-3**2) - 1e-3),
    ],
)
def test_output_is_the_mean_distance(norm, distance):
    expected = sum(distance(d) for d in (S - T).flatten().tolist()) / S.numel()
    assert srkd.losses.build("output", norm=norm)(S, T).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("name", "norm"), [("L1Loss", "l1"), ("MSELoss", "l2"), ("CharbonnierLoss", "charbonnier")])
def test_task_losses_compare_with_the_ground_truth(name, norm):
    assert srkd.losses.get(name).reference == "target"
    options = {"eps": 1e-6} if norm == "charbonnier" else {}
    assert srkd.losses.build(name)(S, T).item() == srkd.losses.build("output", norm=norm, **options)(S, T).item()


def test_outputs_of_different_shape_raise():
    with pytest.raises(
        SrkdError, match=r"equal shapes on both sides, got student \(2, 3, 4, 5\), teacher \(2, 3, 2, 5\)"
    ):
        srkd.losses.build("output").prepare(S, T[:, :, :2])


def test_lr_imitation_is_l1_to_the_lr_image_and_raises_without_it():
    """PISR's teacher_LR_constraint_loss."""
    encoded, lr, hr = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), torch.rand(2, 3, 8, 8)
    loss = srkd.losses.build("lr_imitation")
    expected = sum(abs(a - b) for a, b in zip(encoded.flatten().tolist(), lr.flatten().tolist(), strict=True)) / 96
    assert loss(encoded, hr, hr, lr=lr).item() == pytest.approx(expected, rel=1e-6)
    for wrong in (None, hr):
        with pytest.raises(SrkdError, match=r"lr_imitation: needs lr of the shape \(2, 3, 4, 4\)"):
            loss(encoded, hr, hr, lr=wrong)


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
