"""Mutual learning: values against formulas, and its gradients."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import softmax

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)
COHORT = [2 * torch.randn(4, 3, generator=RNG, dtype=torch.float64) for _ in range(3)]


def kl(peer, own, temperature):
    total = 0.0
    for p, q in zip(peer.tolist(), own.tolist(), strict=True):
        p, q = softmax(p, temperature), softmax(q, temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(peer) * temperature**2


def bernoulli(peer, own, temperature):
    total = 0.0
    for a, b in zip(peer.flatten().tolist(), own.flatten().tolist(), strict=True):
        p, q = (1 / (1 + math.exp(-z / temperature)) for z in (a, b))
        total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    return total / peer.numel() * temperature**2


def l2(peer, own, temperature):
    return (peer - own).square().mean().item()


@pytest.mark.parametrize("divergence", [kl, bernoulli, l2], ids=lambda f: f.__name__)
@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_mean_over_networks_of_mean_over_peers(divergence, temperature):
    expected = 0.0
    for i, own in enumerate(COHORT):
        peers = [divergence(peer, own, temperature) for j, peer in enumerate(COHORT) if j != i]
        expected += sum(peers) / 2 / 3
    loss = srkd.losses.build("mutual", divergence=divergence.__name__, temperature=temperature)
    assert loss(COHORT).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("divergence", ["kl", "bernoulli", "l2"])
def test_each_network_gets_gradients_from_its_own_term_only(divergence):
    """The gradients equal those with explicitly detached peers: none passes through a target."""
    nets = [z.clone().requires_grad_() for z in COHORT[:2]]
    loss = srkd.losses.build("mutual", divergence=divergence, temperature=2.0)
    loss(nets).backward()
    for i in (0, 1):
        alone = COHORT[i].clone().requires_grad_()
        pair = [alone, COHORT[1 - i]] if i == 0 else [COHORT[1 - i], alone]
        (gradient,) = torch.autograd.grad(loss(pair), alone)
        torch.testing.assert_close(nets[i].grad, gradient)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("divergence", ["kl", "bernoulli"])
def test_the_minimum_is_agreement(divergence):
    loss = srkd.losses.build("mutual", divergence=divergence)
    assert loss([COHORT[0], COHORT[0]]).item() == pytest.approx(0, abs=1e-12)
    assert loss([COHORT[0], COHORT[0] + torch.tensor([0.1, 0, 0])]).item() > 0


def test_a_single_network_and_different_shapes_raise():
    loss = srkd.losses.build("mutual")
    with pytest.raises(SrkdError, match="mutual learning needs at least 2 networks, got 1"):
        loss.prepare(COHORT[:1])
    with pytest.raises(SrkdError, match=r"differ in shape: \(4, 3\), \(4, 2\)"):
        loss.prepare([COHORT[0], COHORT[1][:, :2]])
