"""Attention transfer against its formula."""

from __future__ import annotations

import pytest
import torch

import srkd.losses

RNG = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("p", [1, 2, 4])
def test_at(p):
    s, t = (torch.randn(2, c, 3, 4, generator=RNG, dtype=torch.float64) for c in (3, 5))

    def attention(maps, n):
        positions = [maps[n, :, i, j].tolist() for i in range(3) for j in range(4)]
        flat = [sum(abs(v) ** p for v in channels) / len(channels) for channels in positions]
        length = sum(v * v for v in flat) ** 0.5
        return [v / length for v in flat]

    expected = sum((a - b) ** 2 for n in range(2) for a, b in zip(attention(s, n), attention(t, n), strict=True)) / 24
    assert srkd.losses.build("at", p=p)(s, t).item() == pytest.approx(expected, rel=1e-9)


def test_powers_with_an_infinite_gradient_at_zero_raise():
    with pytest.raises(srkd.errors.SrkdError, match="p must be at least 1"):
        srkd.losses.build("at", p=0.5)


@pytest.mark.parametrize(("p", "scale"), [(2, 1e-6), (2, 1e6), (4, 1e-4), (4, 1e6)])
def test_attention_does_not_depend_on_the_scale_of_the_features(p, scale):
    s, t = torch.randn(2, 2, 3, 4, 4, generator=RNG)
    loss, small = srkd.losses.build("at", p=p), (s * scale).requires_grad_()
    (expected,) = torch.autograd.grad(loss(s.requires_grad_(), t), s)
    value = loss(small, t * scale)
    value.backward()
    torch.testing.assert_close(value, loss(s, t))
    torch.testing.assert_close(small.grad * scale, expected)
