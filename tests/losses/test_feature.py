"""Element-wise feature losses against their formulas, and their common alignment."""

from __future__ import annotations

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError


def maps(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def project(weight, bias, s):
    """A 1x1 convolution with loops."""
    n, c, h, w = s.shape
    out = torch.zeros(n, len(bias), h, w, dtype=s.dtype)
    for o in range(len(bias)):
        out[:, o] = bias[o]
        for i in range(c):
            out[:, o] += weight[o, i, 0, 0] * s[:, i]
    return out


def test_fitnet_is_the_mean_square():
    s, t = maps(2, 3, 4, 4), maps(2, 3, 4, 4, seed=1)
    expected = sum(d * d for d in (s - t).flatten().tolist()) / s.numel()
    assert srkd.losses.build("fitnet")(s, t).item() == pytest.approx(expected, rel=1e-9)


def test_fitnet_projects_the_student_where_channels_differ():
    s, t = maps(2, 3, 4, 4), maps(2, 5, 4, 4, seed=1)
    loss = srkd.losses.build("fitnet")
    loss.prepare(s, t)
    assert {n for n, _ in loss.named_parameters()} == {"projection.weight", "projection.bias"}
    expected = (project(loss.projection.weight, loss.projection.bias, s) - t).square().mean()
    assert loss(s, t).item() == pytest.approx(expected.item(), rel=1e-9)


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


def test_different_channels_before_prepare_raise():
    with pytest.raises(SrkdError, match="fitnet: call prepare"):
        srkd.losses.build("fitnet")(maps(2, 3, 4, 4), maps(2, 5, 4, 4))


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


def test_half_precision_teacher_with_a_float32_student():
    s, t = maps(2, 3, 4, 4, dtype=torch.float32), maps(2, 3, 4, 4, seed=1, dtype=torch.float32)
    loss = srkd.losses.build("fitnet")
    value = loss(s, t.half())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx((s - t.half().float()).square().mean().item(), rel=1e-6)
