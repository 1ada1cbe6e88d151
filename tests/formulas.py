"""Slow float64 reference implementations for the tests of learned losses, computed from a state dict."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from torch import Tensor

import srkd.losses


def maps(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def perturb(loss: torch.nn.Module, seed: int = 5) -> dict[str, Tensor]:
    """Add noise to every parameter, so that no initial 0 or 1 hides a term; returns a copy of the state dict."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype)
    return {name: value.clone() for name, value in loss.state_dict().items()}


def convolution(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    """A convolution with same padding, as a sum over the kernel's positions."""
    weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
    n, c, h, w = x.shape
    side = weight.shape[2]
    padded = torch.zeros(n, c, h + side - 1, w + side - 1, dtype=x.dtype)
    padded[:, :, side // 2 : side // 2 + h, side // 2 : side // 2 + w] = x
    out = torch.zeros(n, len(weight), h, w, dtype=x.dtype)
    for i in range(side):
        for j in range(side):
            out += torch.einsum("oc,nchw->nohw", weight[:, :, i, j], padded[:, :, i : i + h, j : j + w])
    return out if bias is None else out + bias[None, :, None, None]


def batch_norm(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    """BatchNorm in training mode, by the batch's statistics."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    weight, bias = (state[f"{name}.{part}"][None, :, None, None] for part in ("weight", "bias"))
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def linear(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    return torch.einsum("nd,od->no", x, state[f"{name}.weight"]) + state[f"{name}.bias"]


def leaky(x: Tensor, slope: float) -> Tensor:
    return torch.where(x > 0, x, slope * x)


def nearest(x: Tensor, height: int, width: int) -> Tensor:
    """Nearest-neighbour resizing: the source pixel at or before each target position."""
    rows = [i * x.shape[2] // height for i in range(height)]
    columns = [j * x.shape[3] // width for j in range(width)]
    return x[:, :, rows][:, :, :, columns]


def blocks(x: Tensor, parts: int) -> Tensor:
    """Means over `parts` x `parts` equal blocks."""
    h, w = x.shape[2] // parts, x.shape[3] // parts
    rows = [[x[:, :, i * h : i * h + h, j * w : j * w + w].mean((2, 3)) for j in range(parts)] for i in range(parts)]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def softmax(row: Sequence[float], temperature: float = 1.0) -> list[float]:
    exps = [math.exp(x / temperature) for x in row]
    return [e / sum(exps) for e in exps]


def kl(p: Sequence[float], q: Sequence[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def cosines(x: Tensor) -> list[list[float]]:
    """Cosines between all pairs of flattened samples."""
    rows = [[v / math.hypot(*row) for v in row] for row in x.flatten(1).tolist()]
    return [[sum(p * q for p, q in zip(a, b, strict=True)) for b in rows] for a in rows]


def rows(features: Tensor) -> list[list[float]]:
    return features.flatten(1).tolist()


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def smooth_l1(a: float, b: float) -> float:
    d = abs(a - b)
    return d * d / 2 if d < 1 else d - 0.5


def relational(
    s: Sequence[Sequence[float]],
    t: Sequence[Sequence[float]],
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
) -> float:
    """RKD's loss of vectors."""
    b = len(s)

    def distances(x):
        d = [[math.dist(x[i], x[j]) for j in range(b)] for i in range(b)]
        apart = [v for row in d for v in row if v > 0]
        return [[v / (sum(apart) / len(apart)) for v in row] for row in d]

    def angle(x, i, j, k):
        u, v = ([p - q for p, q in zip(x[m], x[i], strict=True)] for m in (j, k))
        length = math.hypot(*u) * math.hypot(*v)
        return dot(u, v) / length if length else 0.0

    ds, dt = distances(s), distances(t)
    distance = sum(smooth_l1(ds[i][j], dt[i][j]) for i in range(b) for j in range(b)) / b**2
    triples = [(i, j, k) for i in range(b) for j in range(b) for k in range(b)]
    angles = sum(smooth_l1(angle(s, *ijk), angle(t, *ijk)) for ijk in triples) / b**3
    return distance_weight * distance + angle_weight * angles


def similarity(s: Sequence[Sequence[float]], t: Sequence[Sequence[float]]) -> float:
    """The similarity-preserving loss of vectors."""

    def normalised(x):
        products = [[dot(a, b) for b in x] for a in x]
        return [v / math.sqrt(dot(row, row)) for row in products for v in row]

    return sum((a - b) ** 2 for a, b in zip(normalised(s), normalised(t), strict=True)) / len(s) ** 2


def scores(seed: int, *shape: int) -> Tensor:
    return maps(*shape, seed=seed)


def bce(s: float, t: float) -> float:
    p, q = 1 / (1 + math.exp(-s)), 1 / (1 + math.exp(-t))
    return -(q * math.log(p) + (1 - q) * math.log(1 - p))


def ready(name: str, s: Tensor, t: Tensor, **options: object) -> srkd.losses.Loss:
    """A loss whose learned parts are built for the given sides, from a fixed seed."""
    torch.manual_seed(0)
    loss = srkd.losses.build(name, **options)
    loss.prepare(s, t)
    return loss


def assert_matches(loss: srkd.losses.Loss, s: Tensor, t: Tensor, formula: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Assert that value and gradient of the loss equal those of the element-wise formula."""
    expected = torch.stack([formula(a, b) for a, b in zip(s.flatten(), t.flatten(), strict=True)]).mean()
    (expected_gradient,) = torch.autograd.grad(expected, s)
    value = loss(s, t)
    (gradient,) = torch.autograd.grad(5 * value, s)
    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    torch.testing.assert_close(gradient, 5 * expected_gradient, rtol=1e-9, atol=1e-12)
