"""LDL against its formula written out, and against BasicSR where that is installed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import srkd.losses
from srkd.errors import SrkdError
from srkd.integrations import basicsr


def images(seed: int, *shape: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.rand(shape or (2, 3, 11, 9), generator=rng, dtype=torch.float64) for _ in range(3)]


def written_out(output: Tensor, truth: Tensor, averaged: Tensor) -> Tensor:
    """The map of artifacts pixel by pixel."""
    residual = (truth - output).abs().sum(1, keepdim=True)
    steady = (truth - averaged).abs().sum(1, keepdim=True)
    padded, made = F.pad(residual, (3, 3, 3, 3), mode="reflect"), torch.zeros_like(residual)
    for n in range(len(residual)):
        for y in range(residual.shape[2]):
            for x in range(residual.shape[3]):
                if residual[n, 0, y, x] >= steady[n, 0, y, x]:
                    local = padded[n, 0, y : y + 7, x : x + 7].flatten().var()
                    made[n, 0, y, x] = residual[n].flatten().var() ** 0.2 * local
    return made


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
def test_its_value_is_the_formula(criterion: str, power: int) -> None:
    output, truth, averaged = images(0)
    weight = written_out(output, truth, averaged)
    expected = (weight * output - weight * truth).abs().pow(power).mean()
    loss = srkd.losses.build("ldl", criterion=criterion)
    torch.testing.assert_close(loss(output, truth, ema_output=averaged), expected)


def test_it_agrees_with_basicsr() -> None:
    if not basicsr.available():
        pytest.skip("BasicSR is not installed")
    basicsr.network_names()  # its imports are prepared by this one
    from basicsr.losses import loss_util

    output, truth, averaged = images(1, 2, 3, 16, 16)
    ours = srkd.losses.build("ldl")
    output.requires_grad_()
    theirs = loss_util.get_refined_artifact_map(truth, output, averaged, 7)
    torch.testing.assert_close(ours.artifacts(output, truth, averaged), theirs)
    expected = F.l1_loss(theirs * output, theirs * truth)
    torch.testing.assert_close(ours(output, truth, ema_output=averaged), expected)
    gradients = [
        torch.autograd.grad(v, output, retain_graph=True)[0]
        for v in (expected, ours(output, truth, ema_output=averaged))
    ]
    torch.testing.assert_close(*gradients)


def test_where_the_average_is_worse_nothing_is_an_artifact() -> None:
    output, truth, _ = images(2)
    assert srkd.losses.build("ldl")(output, truth, ema_output=truth + 9) == 0


def test_a_small_variance_of_a_large_residual_is_not_lost_to_rounding() -> None:
    truth = torch.zeros(1, 3, 16, 16)
    output = truth + 0.9
    output[..., 8, 8] += 1e-4
    value = srkd.losses.build("ldl").artifacts(output, truth, truth)
    exact = written_out(output.double(), truth.double(), truth.double())
    torch.testing.assert_close(value.double(), exact, rtol=0.05, atol=1e-12)


def test_mistakes_are_named() -> None:
    output, truth, averaged = images(0, 1, 3, 3, 9)
    with pytest.raises(SrkdError, match="needs images with sides of more than 3 pixels"):
        srkd.losses.build("ldl")(output, truth, ema_output=averaged)
    with pytest.raises(SrkdError, match="window must be odd"):
        srkd.losses.build("ldl", window=4)
    with pytest.raises(SrkdError, match="needs the keyword ema_output"):
        srkd.losses.build("ldl")(*images(0)[:2])
