"""FitNet against its formula."""

from __future__ import annotations

import pytest
import torch
from formulas import maps

import srkd.losses
from srkd.errors import SrkdError


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


def test_different_channels_before_prepare_raise():
    with pytest.raises(SrkdError, match="fitnet: call prepare"):
        srkd.losses.build("fitnet")(maps(2, 3, 4, 4), maps(2, 5, 4, 4))
