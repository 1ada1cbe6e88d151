"""Teachers with other labels: masked KL and the sum over families, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)
S, T = (torch.randn(2, 3, c, generator=RNG, dtype=torch.float64) for c in (5, 3))
MASK = torch.tensor([[True, False, True], [False, True, True]])


def softmax(row, temperature):
    exps = [math.exp(x / temperature) for x in row]
    return [e / sum(exps) for e in exps]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_masked_kl_over_the_old_labels_of_marked_tokens():
    terms = [
        kl(softmax(T[n, i].tolist(), 2), softmax(S[n, i, :3].tolist(), 2))
        for n in range(2)
        for i in range(3)
        if MASK[n, i]
    ]
    assert srkd.losses.build("masked_kl")(S, T, mask=MASK).item() == pytest.approx(sum(terms) / 4 * 4, rel=1e-9)


def test_new_labels_get_no_gradient_from_masked_kl():
    s = S.clone().requires_grad_()
    srkd.losses.build("masked_kl")(s, T, mask=MASK).backward()
    assert s.grad[..., 3:].abs().max() == 0 and s.grad[~MASK].abs().max() == 0
    assert s.grad[..., :3][MASK].abs().max() > 0


def test_no_marked_token_gives_zero_with_a_gradient_of_zero():
    s = S.clone().requires_grad_()
    value = srkd.losses.build("masked_kl")(s, T, mask=torch.zeros_like(MASK))
    value.backward()
    assert value.item() == 0 and s.grad.abs().max() == 0


@pytest.mark.parametrize("mask", [None, MASK.float(), MASK[:1]])
def test_masked_kl_with_an_invalid_mask_raises(mask):
    with pytest.raises(SrkdError, match=r"masked_kl: needs a boolean mask of shape \(2, 3\)"):
        srkd.losses.build("masked_kl")(S, T, mask=mask)


def test_a_teacher_with_more_labels_raises():
    with pytest.raises(SrkdError, match="whose first labels are the teacher's"):
        srkd.losses.build("masked_kl").prepare(T, S)


def test_coarse_sums_the_student_by_family():
    s, t = S.flatten(0, 1), T.flatten(0, 1)
    families = [0, 2, 1, 0, 2]
    expected = 0.0
    for a, b in zip(s.tolist(), t.tolist(), strict=True):
        fine = softmax(a, 3)
        summed = [sum(p for p, f in zip(fine, families, strict=True) if f == k) for k in range(3)]
        expected += kl(softmax(b, 3), summed) / 6 * 9
    loss = srkd.losses.build("coarse", families=families, temperature=3.0)
    assert loss(s, t).item() == pytest.approx(expected, rel=1e-9)


def test_coarse_with_one_class_per_family_is_kd():
    s, t = S[..., :3].flatten(0, 1), T.flatten(0, 1)
    coarse = srkd.losses.build("coarse", families=[0, 1, 2])
    assert coarse(s, t).item() == pytest.approx(srkd.losses.build("kd")(s, t).item(), rel=1e-9)


@pytest.mark.parametrize("families", [[], [0, 2], [1, 2]])
def test_families_with_gaps_raise(families):
    with pytest.raises(SrkdError, match="coarse: families must number"):
        srkd.losses.build("coarse", families=families)


def test_families_may_come_from_the_task():
    s, t = S.flatten(0, 1), T.flatten(0, 1)
    families = [0, 2, 1, 0, 2]
    loss = srkd.losses.build("coarse")
    assert loss.needs == ("families",)
    with pytest.raises(SrkdError, match="call prepare"):
        loss(s, t)
    loss.prepare(s, t, families=families)
    assert loss(s, t, families=families) == srkd.losses.build("coarse", families=families)(s, t)


def test_classes_not_covered_by_the_families_raise():
    with pytest.raises(SrkdError, match=r"families need \(N, 5\) for the student and \(N, 3\) for the teacher"):
        srkd.losses.build("coarse", families=[0, 2, 1, 0, 2]).prepare(torch.zeros(4, 6), torch.zeros(4, 3))
