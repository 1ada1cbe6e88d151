"""Factor transfer: its value against the formula, and the paraphraser loaded from its stage."""

from __future__ import annotations

import pytest
import torch
from formulas import convolution, leaky, maps, perturb, ready

import srkd.losses
from srkd.errors import SrkdError


def three(x, state, name, *, last=True):
    """Three convolutions, each followed by LeakyReLU 0.1, except the last unless `last`."""
    for number in (0, 2, 4):
        x = convolution(x, state, f"{name}.{number}")
        x = leaky(x, 0.1) if last or number < 4 else x
    return x


def test_value_is_the_distance_of_normalised_factors():
    s, t = maps(2, 4, 5, 5), maps(2, 6, 5, 5, seed=1)
    loss = ready("factor_transfer", s, t)
    state = perturb(loss)
    ours, theirs = three(s, state, "translator"), three(t, state, "paraphraser.encoder")
    assert ours.shape == theirs.shape == (2, 3, 5, 5)
    expected = 0.0
    for a, b in zip(ours, theirs, strict=True):
        a, b = a.flatten(), b.flatten()
        expected += (a / a.square().sum().sqrt() - b / b.square().sum().sqrt()).abs().sum()
    assert loss(s, t).item() == pytest.approx(expected.item() / ours.numel(), rel=1e-9)


def test_paraphrase_is_the_reconstruction_error():
    s, t = maps(2, 4, 5, 5), maps(2, 6, 5, 5, seed=1)
    loss = ready("paraphrase", s, t)
    state = perturb(loss)
    rebuilt = three(three(t, state, "paraphraser.encoder"), state, "paraphraser.decoder", last=False)
    assert loss(s, t).item() == pytest.approx((rebuilt - t).square().mean().item(), rel=1e-9)


def test_the_paraphraser_learns_by_reconstruction_and_moves_to_factor_transfer_by_name():
    s, t = maps(2, 4, 5, 5), maps(2, 6, 5, 5, seed=1)
    stage = ready("paraphrase", s, t)
    optimiser = torch.optim.Adam(stage.parameters(), 1e-2)
    first = stage(s, t)
    for _ in range(30):
        optimiser.zero_grad()
        stage(s, t).backward()
        optimiser.step()
    assert stage(s, t) < 0.8 * first
    loss = ready("factor_transfer", s, t)
    carried = {key: value for key, value in stage.state_dict().items() if key.startswith("paraphraser.")}
    missing, unexpected = loss.load_state_dict(carried, strict=False)
    assert not unexpected and all(key.startswith("translator.") for key in missing)
    assert torch.equal(loss.paraphraser.encoder(t), stage.paraphraser.encoder(t))


def test_factor_transfer_trains_only_the_translator():
    s, t = maps(2, 4, 5, 5), maps(2, 6, 5, 5, seed=1)
    loss = ready("factor_transfer", s, t, rate=0.25)
    loss(s, t).backward()
    assert all(p.grad is None for p in loss.paraphraser.parameters())
    assert all(p.grad is not None for p in loss.translator.parameters())


@pytest.mark.parametrize("name", ["factor_transfer", "paraphrase"])
def test_use_before_prepare_raises(name):
    with pytest.raises(SrkdError, match=f"{name}: call prepare"):
        srkd.losses.build(name)(maps(2, 4, 5, 5), maps(2, 6, 5, 5))
