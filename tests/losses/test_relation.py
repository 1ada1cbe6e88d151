"""Relational losses against formulas with explicit loops, and the selection of instances."""

from __future__ import annotations

import math

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError
from srkd.losses.relation import angle_difference, squared_distances


def maps(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def rows(features):
    return features.flatten(1).tolist()


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def smooth_l1(a, b):
    d = abs(a - b)
    return d * d / 2 if d < 1 else d - 0.5


def rkd(s, t, distance_weight=25.0, angle_weight=50.0):
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


def sp(s, t):
    def normalised(x):
        products = [[dot(a, b) for b in x] for a in x]
        return [v / math.sqrt(dot(row, row)) for row in products for v in row]

    return sum((a - b) ** 2 for a, b in zip(normalised(s), normalised(t), strict=True)) / len(s) ** 2


FORMULAS = {"rkd": rkd, "sp": sp}


@pytest.mark.parametrize("name", FORMULAS)
def test_value_matches_the_formula(name):
    s, t = maps(5, 2, 3, 3), maps(5, 4, 3, 3, seed=1) * 3 + 2
    loss = srkd.losses.build(name)
    loss.prepare(s, t)
    assert loss(s, t).item() == pytest.approx(FORMULAS[name](rows(s), rows(t)), rel=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_instances_patch_uses_whole_windows(name):
    s, t = maps(2, 2, 5, 4), maps(2, 3, 5, 4, seed=1)

    def windows(m):
        return [m[n, :, i : i + 2, j : j + 2].flatten().tolist() for n in range(2) for i in (0, 2) for j in (0, 2)]

    loss = srkd.losses.build(name, instances="patch", patch=2)
    assert loss(s, t).item() == pytest.approx(FORMULAS[name](windows(s), windows(t)), rel=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_instances_pixel_uses_all_if_samples_allows(name):
    s, t = maps(2, 3, 2, 3), maps(2, 4, 2, 3, seed=1)

    def pixels(m):
        return [m[n, :, i, j].tolist() for n in range(2) for i in range(2) for j in range(3)]

    loss = srkd.losses.build(name, instances="pixel")
    assert loss(s, t).item() == pytest.approx(FORMULAS[name](pixels(s), pixels(t)), rel=1e-9)


@pytest.mark.parametrize("instances", ["patch", "pixel"])
def test_sampled_instances_are_the_same_on_both_sides_and_follow_the_global_seed(instances):
    s = maps(4, 3, 8, 8)
    loss = srkd.losses.build("sp", instances=instances, patch=2, samples=5)
    torch.manual_seed(0)
    ours, theirs = loss.vectors(s, 2 * s)
    assert len(ours) == 5 and torch.equal(2 * ours, theirs)
    assert not torch.equal(loss.vectors(s, s)[0], ours)
    torch.manual_seed(0)
    assert torch.equal(loss.vectors(s, s)[0], ours)


def test_maps_of_different_size_give_the_same_instances():
    s, t = maps(2, 3, 4, 4), maps(2, 5, 8, 8, seed=1)
    loss = srkd.losses.build("sp", instances="pixel")
    ours, theirs = loss.vectors(s, t)
    assert ours.shape == (32, 3) and theirs.shape == (32, 5)


def test_rkd_blockwise_gradient_matches_autograd():
    x, t = maps(7, 4).requires_grad_(), maps(7, 6, seed=1)

    def cosines(v):
        way = v[None] - v[:, None]
        length = way.square().sum(2, keepdim=True)
        unit = way * torch.where(length > 0, torch.where(length > 0, length, 1).rsqrt(), 0)
        return unit @ unit.transpose(1, 2)

    plain = torch.nn.functional.smooth_l1_loss(cosines(x), cosines(t))
    (expected,) = torch.autograd.grad(plain, x)
    blocks = angle_difference(squared_distances(x), squared_distances(t), entries=100)
    (gradient,) = torch.autograd.grad(blocks, x)
    assert blocks.item() == pytest.approx(plain.item(), rel=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-10)


def test_rkd_with_repeated_instances_has_a_finite_gradient():
    x = maps(3, 4, dtype=torch.float32)[[0, 0, 1, 1, 2]].requires_grad_()
    srkd.losses.build("rkd")(x, maps(5, 4, seed=1, dtype=torch.float32)).backward()
    assert x.grad.isfinite().all() and x.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        ("rkd", {}, (2, 3, 4, 4), r"at least 3 instances, got 2 \(instances: image\)"),
        ("sp", {}, (1, 3, 4, 4), "at least 2 instances, got 1"),
        ("rkd", {"instances": "patch", "patch": 4}, (2, 3, 7, 7), r"got 2 \(instances: patch\)"),
        ("rkd", {}, (300, 2), "at most 256 instances, got a batch of 300"),
    ],
)
def test_too_few_and_too_many_instances_raise(name, options, shape, message):
    with pytest.raises(SrkdError, match=message):
        srkd.losses.build(name, **options).prepare(torch.zeros(shape), torch.zeros(shape))


@pytest.mark.parametrize("samples", [2, 257, 4.0])
def test_rkd_accepts_3_to_256_samples(samples):
    with pytest.raises(srkd.errors.SrkdError, match="samples must be an integer from 3 to 256"):
        srkd.losses.build("rkd", samples=samples)


def test_rkd_with_both_weights_zero_raises():
    with pytest.raises(srkd.errors.SrkdError, match="no term is left"):
        srkd.losses.build("rkd", distance_weight=0, angle_weight=0)
