"""PISR against its official formula, with perturbed parameters."""

from __future__ import annotations

import pytest
import torch
from formulas import convolution, maps, perturb, ready

import srkd.losses
from srkd.errors import SrkdError


def prelu_head(x, state, name):
    hidden = convolution(x, state, f"{name}.0")
    hidden = torch.where(hidden > 0, hidden, state[f"{name}.1.weight"] * hidden)
    return convolution(hidden, state, f"{name}.2")


def test_pisr_value_and_gradients():
    """cvlab-yonsei/PISR, vid_loss with pdf laplace, without its constant, C log(2 pi) / 2."""
    s, t = maps(2, 3, 4, 4).requires_grad_(), maps(2, 5, 4, 4, seed=1)
    loss = ready("pisr", s, t)
    perturb(loss)
    parameters = dict(loss.named_parameters())
    std = (1 + prelu_head(s, parameters, "width").exp()).log() * 0.1 + 1e-8
    expected = ((2 * std).log() + (prelu_head(s, parameters, "mean") - t).abs() / std).mean()
    inputs = [s, *parameters.values()]
    expected_gradients = torch.autograd.grad(expected, inputs)
    value = loss(s, t)
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    for gradient, other in zip(torch.autograd.grad(3 * value, inputs), expected_gradients, strict=True):
        torch.testing.assert_close(gradient, 3 * other, rtol=1e-8, atol=1e-12)


def test_pisr_learns_what_the_student_cannot_predict():
    """The width of a pure noise channel grows above that of a channel that the student can copy."""
    torch.manual_seed(0)
    s = torch.randn(4, 2, 8, 8)
    t = s + torch.randn(s.shape) * torch.tensor([0.01, 2.0])[None, :, None, None]
    loss = ready("pisr", s, t)
    optimiser = torch.optim.Adam(loss.parameters(), 0.05)
    for _ in range(200):
        optimiser.zero_grad()
        loss(s, t).backward()
        optimiser.step()
    widths = 0.1 * torch.nn.functional.softplus(loss.width(s)).mean((0, 2, 3))
    assert widths[0] < 0.3 < 1.0 < widths[1] < 3.0


@pytest.mark.parametrize("name", ["vid", "pisr"])
def test_use_before_prepare_raises(name):
    with pytest.raises(SrkdError, match=f"{name}: call prepare"):
        srkd.losses.build(name)(maps(2, 3, 4, 4), maps(2, 3, 4, 4))
