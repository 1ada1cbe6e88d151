"""Contrastive distillation: InfoNCE with a queue, NCE with a memory bank, and their state."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError


def vectors(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ready(s, t, **options):
    torch.manual_seed(0)
    loss = srkd.losses.build("crd", **{"dim": 8, "queue": 6, **options})
    loss.prepare(s, t)
    return loss


def embed(layer, x):
    out = x @ layer.weight.T + layer.bias
    return (out / out.square().sum(1, keepdim=True).sqrt()).tolist()


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_infonce_against_batch_and_queue():
    s, t = vectors(4, 3), vectors(4, 5, seed=1)
    loss = ready(s, t)
    ours, theirs = embed(loss.embed_s, s), embed(loss.embed_t, t)
    keys = theirs + loss.keys.tolist()
    assert len(keys) == 10
    expected = sum(
        math.log(sum(math.exp(dot(a, k) / 0.07) for k in keys)) - dot(a, theirs[i]) / 0.07 for i, a in enumerate(ours)
    )
    assert loss(s, t).item() == pytest.approx(expected / 4, rel=1e-9)


def test_the_queue_is_updated_in_training_and_constant_in_eval():
    s, t = vectors(4, 3), vectors(4, 5, seed=1)
    loss = ready(s, t)
    before = loss.keys.clone()
    loss.eval()
    loss(s, t)
    assert torch.equal(loss.keys, before)
    loss.train()
    loss(s, t)
    torch.testing.assert_close(loss.keys[:4], torch.tensor(embed(loss.embed_t, t), dtype=torch.float64))
    assert torch.equal(loss.keys[4:], before[:2])


@pytest.mark.parametrize(("instances", "count"), [("image", 2), ("pooled", 2), ("patch", 8), ("pixel", 32)])
def test_instances_of_maps(instances, count):
    s, t = vectors(2, 3, 4, 4), vectors(2, 5, 4, 4, seed=1)
    loss = ready(s, t, instances=instances, patch=2)
    ours, theirs = loss.pooled_vectors(s, t)
    assert ours.shape == (count, 3) and theirs.shape == (count, 5)
    side = {"image": 4, "pooled": 4, "patch": 2, "pixel": 1}[instances]
    torch.testing.assert_close(ours[0], s[0, :, :side, :side].mean((1, 2)))


def test_bank_is_nce_in_both_directions(monkeypatch):
    """RepDistiller, crd/criterion.py and crd/memory.py, without its 1e-7 in the denominators."""
    s, t, index = vectors(3, 3), vectors(3, 5, seed=1), torch.tensor([4, 0, 2])
    loss = ready(s, t, bank=6, negatives=4)
    sampled = torch.tensor([1, 5, 5, 0])
    monkeypatch.setattr(torch, "randint", lambda *_: sampled)
    banks = loss.bank_s.tolist(), loss.bank_t.tolist()

    def nce(anchors, bank):
        scores = [
            [math.exp(dot(a, bank[j]) / 0.07) for j in [own, *sampled.tolist()]]
            for a, own in zip(anchors, index.tolist(), strict=True)
        ]
        constant = sum(map(sum, scores)) / 15 * 6
        noise, total = 4 / 6, 0.0
        for own, *others in scores:
            total -= math.log(own / constant / (own / constant + noise))
            total -= sum(math.log(noise / (x / constant + noise)) for x in others)
        return total / 3

    expected = nce(embed(loss.embed_s, s), banks[1]) + nce(embed(loss.embed_t, t), banks[0])
    assert loss(s, t, index=index).item() == pytest.approx(expected, rel=1e-5)


def test_an_instance_equal_to_its_entry_is_finite_at_a_small_temperature():
    s, index = vectors(3, 3).float(), torch.arange(3)
    loss = ready(s, s, bank=6, negatives=4, tau=0.01)
    loss(s, s, index=index)
    loss.bank_t[index] = torch.tensor(embed(loss.embed_s, s))
    value = loss(s, s, index=index)
    value.backward()
    assert value.isfinite() and loss.embed_s.weight.grad.isfinite().all()


def test_bank_updates_seen_entries_with_momentum_and_keeps_the_rest():
    s, t, index = vectors(3, 3), vectors(3, 5, seed=1), torch.tensor([4, 0, 2])
    loss = ready(s, t, bank=6, negatives=4)
    before = loss.bank_t.clone()
    loss(s, t, index=index).backward()
    assert torch.equal(loss.bank_t[[1, 3, 5]], before[[1, 3, 5]])
    fresh = torch.tensor(embed(loss.embed_t, t), dtype=torch.float64)
    mixed = 0.5 * before[index] + 0.5 * fresh
    torch.testing.assert_close(loss.bank_t[index], mixed / mixed.norm(dim=1, keepdim=True))
    assert loss.needs == ("index",) and ready(s, t).needs == ()
    other = ready(s, t, bank=6, negatives=4)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.bank_t, loss.bank_t) and torch.equal(other.constants, loss.constants)


def test_indexed_data_have_a_bank_and_others_a_queue():
    s, t = vectors(3, 3), vectors(3, 5, seed=1)
    indexed = {"index": torch.tensor([4, 0, 2]), "examples": 6}

    def prepare(given, **options):
        loss = srkd.losses.build("crd", dim=8, queue=6, **options)
        loss.prepare(s, t, **given)
        return loss

    bank = prepare(indexed)
    assert bank.bank_s.shape == bank.bank_t.shape == (6, 8) and bank.keys is None
    assert bank(s, t, **indexed).isfinite()
    assert bank.bank_s.square().sum(1).mean() == pytest.approx(
        1, abs=0.5
    )  # uniform in +-sqrt(3 / dim), as in the official code
    for loss in (prepare({}), prepare(indexed, bank=0), prepare(indexed, instances="pixel")):
        assert loss.bank_s is None and loss.keys.shape == (6, 8) and loss(s, t, **indexed).isfinite()


@pytest.mark.parametrize("index", [None, torch.tensor([0, 1]), torch.tensor([0, 1, 6])])
def test_bank_with_an_invalid_index_raises(index):
    s, t = vectors(3, 3), vectors(3, 5, seed=1)
    with pytest.raises(SrkdError, match=r"crd: needs index \(3\) below bank = 6"):
        ready(s, t, bank=6, negatives=4)(s, t, index=index)


def test_a_bank_of_patches_raises():
    with pytest.raises(SrkdError, match="a bank stores whole images"):
        srkd.losses.build("crd", bank=10, instances="pixel")


def test_aligned_embeddings_score_better_than_shuffled_ones():
    s = vectors(6, 4)
    loss = ready(s, s)
    loss.embed_t.load_state_dict(loss.embed_s.state_dict())
    loss.eval()
    assert loss(s, s) < loss(s, s.roll(1, 0))
