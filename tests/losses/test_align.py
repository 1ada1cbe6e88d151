"""The alignment of features: sizes, layouts, shapes that cannot be compared."""

from __future__ import annotations

import pytest
import torch
from formulas import maps

import srkd.losses
from srkd.errors import SrkdError


def test_the_larger_map_is_pooled_to_the_smaller_on_either_side():
    s, t = maps(2, 3, 4, 4), maps(2, 3, 8, 8, seed=1)
    small = torch.stack([t[..., i::2, j::2] for i in range(2) for j in range(2)]).mean(0)  # means of 2x2 blocks
    loss = srkd.losses.build("fitnet")
    assert loss(s, t).item() == pytest.approx((s - small).square().mean().item(), rel=1e-9)
    assert loss(t, s).item() == pytest.approx(loss(s, t).item(), rel=1e-9)


def test_vectors_compare_as_maps_of_one_position():
    s, t = maps(4, 3), maps(4, 6, seed=1)
    loss = srkd.losses.build("fitnet")
    loss.prepare(s, t)
    assert loss(s, t).item() == pytest.approx(loss(s[:, :, None, None], t[:, :, None, None]).item())


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ((2, 3, 4, 4), (2, 3), "needs maps"),
        ((2, 3, 4), (2, 3, 4), "needs maps"),
        ((2, 3, 4, 4), (3, 3, 4, 4), "batches differ"),
        ((2, 3, 0, 4), (2, 3, 4, 4), "empty input"),
    ],
)
@pytest.mark.parametrize("name", ["fitnet", "at", "sp", "rkd", "fakd"])
def test_incomparable_shapes_raise(name, student, teacher, message):
    with pytest.raises(SrkdError, match=message) as caught:
        srkd.losses.build(name).prepare(torch.zeros(student), torch.zeros(teacher))
    assert str(student) in str(caught.value)
