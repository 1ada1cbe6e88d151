"""A simulator as teacher: weighting, mask and fading."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)
S, T, TRUTH = (torch.randn(3, 4, generator=RNG, dtype=torch.float64) for _ in range(3))
MASK = torch.rand(3, 4, generator=RNG) < 0.6


@pytest.mark.parametrize(("progress", "fade", "faded"), [(0, 1, 1.0), (0.25, 1, 0.75), (0.5, 2, 0.25), (0.9, 0, 1.0)])
def test_weight_falls_with_the_simulators_error_and_with_training(progress, fade, faded):
    rows = zip(*(x[MASK].tolist() for x in (S, T, TRUTH)), strict=True)
    terms = [math.exp(-abs(t - g) / 0.5) * (s - t) ** 2 for s, t, g in rows]
    loss = srkd.losses.build("simulation", tolerance=0.5, fade=fade)
    value = loss(S, T, TRUTH, mask=MASK, progress=progress)
    assert value.item() == pytest.approx(sum(terms) / len(terms) * faded, rel=1e-9)


def test_missing_values_outside_the_mask_are_ignored():
    s, t = S.clone().requires_grad_(), T.clone()
    t[~MASK] = math.nan
    truth = TRUTH.masked_fill(~MASK, math.nan)
    loss = srkd.losses.build("simulation")
    value = loss(s, t, truth, mask=MASK, progress=0.0)
    value.backward()
    assert value.item() == loss(S, T, TRUTH, mask=MASK, progress=0.0).item()
    assert s.grad.isfinite().all() and s.grad[~MASK].abs().max() == 0


def test_no_mask_means_all_and_an_empty_mask_none():
    loss = srkd.losses.build("simulation")
    full = loss(S, T, TRUTH, mask=torch.ones_like(MASK), progress=0.0)
    assert torch.equal(loss(S, T, TRUTH, mask=None, progress=0.0), full)
    assert loss(S, T, TRUTH, mask=torch.zeros_like(MASK), progress=0.0).item() == 0


@pytest.mark.parametrize("progress", [None, -0.1, 1.5])
def test_truth_and_progress_are_required(progress):
    with pytest.raises(SrkdError, match="simulation: needs the truth as target and progress from 0 to 1"):
        srkd.losses.build("simulation")(S, T, TRUTH, mask=None, progress=progress)
    with pytest.raises(SrkdError, match="needs the truth"):
        srkd.losses.build("simulation")(S, T, None, mask=None, progress=0.5)


@pytest.mark.parametrize(("truth", "mask"), [(TRUTH[:1], MASK), (TRUTH, MASK[:1])])
def test_a_truth_or_mask_of_another_shape_is_not_broadcast(truth, mask):
    with pytest.raises(SrkdError, match=r"simulation: needs the shape .* of the forecasts"):
        srkd.losses.build("simulation")(S, T, truth, mask=mask, progress=0.5)


def test_where_the_truth_is_not_known_the_weight_is_one():
    known = torch.rand(3, 4, generator=RNG) < 0.5
    truth = TRUTH.masked_fill(~known, math.nan)
    rows = zip(*(x[MASK].tolist() for x in (S, T, TRUTH, known)), strict=True)
    terms = [(math.exp(-abs(t - g) / 0.5) if k else 1) * (s - t) ** 2 for s, t, g, k in rows]
    value = srkd.losses.build("simulation", tolerance=0.5)(S, T, truth, mask=MASK, progress=0.0, known=known)
    assert value.item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_where_the_truth_is_known_the_best_output_stays_near_it():
    loss = srkd.losses.build("simulation", tolerance=0.5)
    outputs = torch.linspace(-3, 3, 60001, dtype=torch.float64)
    for difference in (0.1, 0.64, 2.0):
        total = torch.stack([outputs.square(), math.exp(-difference / 0.5) * (outputs - difference).square()]).sum(0)
        best = outputs[total.argmin()].item()
        assert best == pytest.approx(difference / (1 + math.exp(difference / 0.5)), abs=2e-4) and best <= 0.28 * 0.5
        s = torch.tensor([best], dtype=torch.float64, requires_grad=True)
        truth, teacher = torch.zeros(1, dtype=torch.float64), torch.full((1,), difference, dtype=torch.float64)
        (s.square().sum() + loss(s, teacher, truth, mask=None, progress=0.0)).backward()
        assert s.grad.item() == pytest.approx(0, abs=1e-3)
