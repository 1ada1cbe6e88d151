"""What the losses on logits share: padding, and too few classes."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import kl

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)


S, T = (3 * torch.randn(4, 5, generator=RNG, dtype=torch.float64) for _ in range(2))


LABELS = torch.tensor([0, 4, 2, 2])


@pytest.mark.parametrize("name", ["kd", "dkd"])
@pytest.mark.parametrize("how", ["labels", "mask", "attention mask", "both"])
def test_padded_positions_are_ignored(name, how):
    """Tokens (N, C, L): padded ones have no effect, whatever they contain, and no gradient."""
    s, t = (3 * torch.randn(2, 5, 3, generator=RNG, dtype=torch.float64) for _ in range(2))
    labels, real = torch.tensor([[0, 4, 1], [2, 3, 0]]), torch.tensor([[True, True, False], [True, False, False]])
    unpadded = [(torch.stack([x[i, :, j] for i in range(2) for j in range(3) if real[i, j]])) for x in (s, t)]
    value = srkd.losses.build(name)(*unpadded, labels[real]).item()
    s, t = (x.masked_fill(~real[:, None], torch.nan).requires_grad_() for x in (s, t))
    padded, mask = labels, None
    if how in ("labels", "both"):
        padded = labels.masked_fill(~real, -100)
    if how != "labels":
        mask = real.long() if how == "attention mask" else real
    found = srkd.losses.build(name)(s, t, padded, mask=mask)
    found.backward()
    assert found.item() == pytest.approx(value, rel=1e-12)
    assert s.grad.isfinite().all() and (s.grad != 0).any(1).equal(real)


@pytest.mark.parametrize("name", ["kd", "dkd", "focal", "flsd", "CrossEntropyLoss"])
def test_padding_alone_gives_zero_and_no_gradient(name):
    s, labels = S.clone().requires_grad_(), torch.full((4,), -100)
    loss = srkd.losses.build(name)
    value = loss(s, labels) if loss.reference == "target" else loss(s, T, labels)
    value.backward()
    assert value.item() == 0 and (s.grad == 0).all()


@pytest.mark.parametrize("name", ["focal", "flsd"])
def test_focal_losses_ignore_padding(name):
    labels, loss = LABELS.clone(), srkd.losses.build(name)
    labels[1] = -100
    assert loss(S, labels).item() == pytest.approx(loss(S[[0, 2, 3]], LABELS[[0, 2, 3]]).item(), rel=1e-12)


@pytest.mark.parametrize("name", ["kd", "dkd"])
def test_one_logit_raises_and_suggests_an_alternative(name):
    loss, one = srkd.losses.build(name), (S[:, :1], T[:, :1])
    for call in (loss, loss.prepare):
        with pytest.raises(SrkdError, match=rf"{name}: needs at least 2 classes.*`output` \(norm: l2\).*\(0, z\)"):
            call(*one)
    two = [torch.cat((torch.zeros_like(z), z), 1) for z in one]  # the suggested alternative: KL of Bernoullis
    q, p = ([[1 / (1 + math.exp(z / 4)), 1 / (1 + math.exp(-z / 4))] for z in x[:, 0].tolist()] for x in one)
    expected = sum(map(kl, p, q)) / 4 * 16
    assert srkd.losses.build("kd")(*two).item() == pytest.approx(expected, rel=1e-9)
