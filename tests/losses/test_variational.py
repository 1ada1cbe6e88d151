"""VID and the Laplace likelihood against their formulas, with the learned parts away from their start."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ready(name, s, t, **options):
    torch.manual_seed(0)
    loss = srkd.losses.build(name, **options)
    loss.prepare(s, t)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return loss


def test_vid():
    s, t = maps(2, 3, 4, 4), maps(2, 5, 4, 4, seed=1)
    loss = ready("vid", s, t)
    mean, total = loss.mean(s), 0.0
    for c in range(5):
        v = math.log1p(math.exp(loss.raw_variance[c].item())) + 1e-5
        for m, x in zip(mean[:, c].flatten().tolist(), t[:, c].flatten().tolist(), strict=True):
            total += 0.5 * ((m - x) ** 2 / v + math.log(v))
    assert loss(s, t).item() == pytest.approx(total / t.numel(), rel=1e-9)


def test_vid_is_three_1x1_convolutions_and_starts_from_the_given_variance():
    s, t = maps(2, 3, 4, 4), maps(2, 5, 4, 4, seed=1)
    for variance in (5.0, 0.5):
        loss = srkd.losses.build("vid", variance=variance)
        loss.prepare(s, t)
        convolutions = [m for m in loss.mean if isinstance(m, torch.nn.Conv2d)]
        assert [m.kernel_size for m in convolutions] == [(1, 1)] * 3
        start = torch.nn.functional.softplus(loss.raw_variance) + 1e-5
        assert start.tolist() == pytest.approx([variance] * 5, rel=1e-6)


def test_pisr_value_and_gradients():
    s, t = maps(2, 3, 4, 4).requires_grad_(), maps(2, 5, 4, 4, seed=1)
    loss = ready("pisr", s, t)
    b = loss.width(s).exp()
    expected = ((2 * b).log() + (loss.projection(s) - t).abs() / b).mean()
    inputs = [s, *loss.parameters()]
    wanted = torch.autograd.grad(expected, inputs)
    value = loss(s, t)
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    for gradient, other in zip(torch.autograd.grad(value, inputs), wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-8, atol=1e-12)


def test_pisr_learns_where_the_student_cannot_know():
    """The width of a channel of pure noise grows above that of one that the student copies."""
    torch.manual_seed(0)
    s = torch.randn(4, 2, 8, 8)
    t = s + torch.randn(s.shape) * torch.tensor([0.01, 2.0])[None, :, None, None]
    loss = srkd.losses.build("pisr")
    loss.prepare(s, t)
    optimiser = torch.optim.Adam(loss.parameters(), 0.05)
    for _ in range(150):
        optimiser.zero_grad()
        loss(s, t).backward()
        optimiser.step()
    widths = loss.width(s).exp().mean((0, 2, 3))
    assert widths[0] < 0.1 and 1.0 < widths[1] < 3.0


@pytest.mark.parametrize("name", ["vid", "pisr"])
def test_use_before_prepare_says_what_to_do(name):
    with pytest.raises(SrkdError, match=f"{name}: call prepare"):
        srkd.losses.build(name)(maps(2, 3, 4, 4), maps(2, 3, 4, 4))
