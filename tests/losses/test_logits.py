"""Distillation of class probabilities against explicit formulas."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)
S, T = (3 * torch.randn(4, 5, generator=RNG, dtype=torch.float64) for _ in range(2))


def softmax(row, temperature):
    exps = [math.exp(x / temperature) for x in row]
    return [e / sum(exps) for e in exps]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_kd():
    expected = sum(kl(softmax(t, 4), softmax(s, 4)) for s, t in zip(S.tolist(), T.tolist(), strict=True)) / 4 * 16
    assert srkd.losses.build("kd")(S, T).item() == pytest.approx(expected, rel=1e-9)


def test_kd_on_positions_is_the_mean_over_them():
    s, t = S.T.reshape(1, 5, 2, 2), T.T.reshape(1, 5, 2, 2)
    loss = srkd.losses.build("kd", temperature=2.0)
    assert loss(s, t).item() == pytest.approx(loss(S, T).item(), rel=1e-12)


def test_logits_of_different_shape_raise():
    with pytest.raises(SrkdError, match=r"equal shapes on both sides, got student \(4, 5\), teacher \(4, 3\)"):
        srkd.losses.build("kd").prepare(S, T[:, :3])


LABELS = torch.tensor([0, 4, 2, 2])


def dkd(alpha, beta, temperature):
    total = 0.0
    for s, t, y in zip(S.tolist(), T.tolist(), LABELS.tolist(), strict=True):
        p, q = softmax(t, temperature), softmax(s, temperature)
        target_part = kl([p[y], 1 - p[y]], [q[y], 1 - q[y]])
        others = [[x / (1 - full[y]) for c, x in enumerate(full) if c != y] for full in (p, q)]
        total += alpha * target_part + beta * kl(*others)
    return total / 4 * temperature**2


@pytest.mark.parametrize("options", [(1.0, 8.0, 4.0), (0.5, 0.0, 2.0)])
def test_dkd(options):
    alpha, beta, temperature = options
    loss = srkd.losses.build("dkd", alpha=alpha, beta=beta, temperature=temperature)
    assert loss(S, T, LABELS).item() == pytest.approx(dkd(*options), rel=1e-9)


def test_dkd_with_the_coupled_weights_is_kd():
    # Hinton's KD is TCKD + (1 - p_true) NCKD: with one sample the weights can be set by hand.
    p = softmax(T[0].tolist(), 4)[0]
    kd, dkd = srkd.losses.build("kd"), srkd.losses.build("dkd", alpha=1.0, beta=1 - p)
    assert dkd(S[:1], T[:1], LABELS[:1]).item() == pytest.approx(kd(S[:1], T[:1]).item(), rel=1e-9)


def test_dkd_on_positions():
    s, t, labels = S.T.reshape(1, 5, 2, 2), T.T.reshape(1, 5, 2, 2), LABELS.reshape(1, 2, 2)
    assert srkd.losses.build("dkd")(s, t, labels).item() == pytest.approx(dkd(1.0, 8.0, 4.0), rel=1e-9)


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


def test_kd_includes_unlabelled_examples_if_ignore_index_is_none():
    labels = torch.full((4,), -100)
    assert srkd.losses.build("kd", ignore_index=None)(S, T, labels).item() == srkd.losses.build("kd")(S, T).item()
    first = srkd.losses.build("kd", ignore_index=2)(S, T, LABELS)
    assert first.item() == pytest.approx(srkd.losses.build("kd")(S[:2], T[:2]).item(), rel=1e-12)


def test_kd_of_a_tapped_map_is_not_masked_by_the_labels_of_whole_examples():
    s, t = maps_of_logits(), maps_of_logits()
    assert srkd.losses.build("kd")(s, t, torch.tensor([0, -100])).item() == srkd.losses.build("kd")(s, t).item()


def maps_of_logits():
    return torch.randn(2, 5, 3, 3, generator=RNG)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"target": torch.zeros(2, 7, dtype=torch.long)}, "labels"),
        ({"mask": torch.ones(2, 7)}, "mask"),
    ],
)
def test_classes_in_the_last_dimension_are_detected_by_labels_and_mask(given, name):
    s, t = torch.randn(2, 7, 5), torch.randn(2, 7, 5)
    message = rf"kd: needs {name} of shape \(2, 5\) for logits \(2, 7, 5\).*got \(2, 7\): transpose"
    with pytest.raises(SrkdError, match=message):
        srkd.losses.build("kd")(s, t, **given)


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


@pytest.mark.parametrize("labels", [None, torch.zeros(4), torch.zeros(3, dtype=torch.long)])
def test_dkd_with_invalid_labels_raises(labels):
    with pytest.raises(SrkdError, match=r"dkd: needs labels, integers of shape \(4,\)"):
        srkd.losses.build("dkd")(S, T, labels)
