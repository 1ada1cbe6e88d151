"""KL over the teacher's labels and marked tokens, against its formula."""

from __future__ import annotations

import pytest
import torch
from formulas import kl, softmax

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)


S, T = (torch.randn(2, 3, c, generator=RNG, dtype=torch.float64) for c in (5, 3))


MASK = torch.tensor([[True, False, True], [False, True, True]])


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
