"""Element-wise distances against their formulas."""

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


@pytest.mark.parametrize("name", ["L1Loss", "MSELoss", "CharbonnierLoss"])
def test_elements_whose_truth_is_not_known_are_left_out(name):
    student, truth = torch.randn(3, 4), torch.randn(3, 4)
    known = torch.tensor([True, False, True])[:, None].expand(3, 4)
    hidden = truth.masked_fill(~known, float("nan"))
    loss = srkd.losses.build(name)
    assert loss(student, hidden, known=known).item() == pytest.approx(loss(student[::2], truth[::2]).item(), rel=1e-6)
    student.requires_grad_()
    nothing = loss(student, hidden, known=torch.zeros_like(known))
    nothing.backward()
    assert nothing.item() == 0 and not student.grad.any()
    with pytest.raises(SrkdError, match=rf"{name}: needs `known`.* of shape \(3, 4\), got \(2, 4\)"):
        loss(student, truth, known=known[:2])
