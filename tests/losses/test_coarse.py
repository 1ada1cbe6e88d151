"""KL over families of classes, against its formula."""

from __future__ import annotations

import pytest
import torch
from formulas import kl, softmax

import srkd.losses
from srkd.errors import SrkdError

RNG = torch.Generator().manual_seed(0)


S, T = (torch.randn(2, 3, c, generator=RNG, dtype=torch.float64) for c in (5, 3))


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
