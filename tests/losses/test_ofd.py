"""Overhaul distillation: value and gradient, and where its margin comes from."""

from __future__ import annotations

import pytest
import torch
from formulas import assert_matches, batch_norm, convolution, maps, perturb

import srkd.losses
from srkd.errors import SrkdError


def test_ofd():
    s, t = maps(2, 3, 4, 4).requires_grad_(), maps(2, 3, 4, 4, seed=1)
    t[:, 2] = t[:, 2].abs()
    loss = srkd.losses.build("ofd").eval()
    loss.prepare(s, t)
    margins = [t[:, c][t[:, c] < 0].mean().item() for c in range(2)] + [0.0]
    assert loss.margin.flatten().tolist() == pytest.approx(margins)
    below = torch.tensor(margins, dtype=torch.float64)[None, :, None, None].expand_as(t)
    clipped = torch.maximum(t, below)
    assert_matches(loss, s, clipped, lambda a, g: 0 * a if a <= g <= 0 else (a - g) ** 2)


def test_ofd_takes_its_margin_from_the_first_batches_of_training():
    s, batches = maps(2, 3, 4, 4), [maps(2, 3, 4, 4, seed=seed) for seed in range(1, 5)]
    loss = srkd.losses.build("ofd", batches=2)
    loss.prepare(s, batches[0])
    for batch in batches[1:]:
        loss(s, batch)
    seen = torch.cat(batches[:3])  # the dry run's batch and two training batches
    expected_margins = [seen[:, c][seen[:, c] < 0].mean().item() for c in range(3)]
    assert loss.margin.flatten().tolist() == pytest.approx(expected_margins, rel=1e-12)
    loss.eval()
    loss(s, 10 * batches[0])
    assert loss.margin.flatten().tolist() == pytest.approx(expected_margins, rel=1e-12)


def test_ofd_with_batch_norm_is_the_official_connector():
    s, t = maps(2, 3, 4, 4), maps(2, 5, 4, 4, seed=1)
    loss = srkd.losses.build("ofd", batch_norm=True)
    loss.prepare(s, t)
    state = perturb(loss)
    ours = batch_norm(convolution(s, state, "projection.0"), state, "projection.1")
    margins = torch.stack([t[:, c][t[:, c] < 0].mean() for c in range(5)])[None, :, None, None]
    clipped = torch.maximum(t, margins)
    counts = (ours > clipped) | (clipped > 0)
    assert loss(s, t).item() == pytest.approx(((ours - clipped).square() * counts).mean().item(), rel=1e-9)


def test_ofd_keeps_its_margin_in_the_checkpoint():
    s, t = maps(2, 3, 4, 4), maps(2, 3, 4, 4, seed=1)
    loss, other = srkd.losses.build("ofd"), srkd.losses.build("ofd")
    loss.prepare(s, t)
    other.prepare(s, 2 * t)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.margin, loss.margin)


def test_ofd_before_prepare_raises():
    with pytest.raises(SrkdError, match="ofd: call prepare"):
        srkd.losses.build("ofd")(maps(2, 3, 4, 4), maps(2, 3, 4, 4))
