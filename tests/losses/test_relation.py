"""The selection of instances, against formulas with explicit loops."""

from __future__ import annotations

import pytest
import torch
from formulas import maps, relational, similarity

import srkd.losses
from srkd.errors import SrkdError

FORMULAS = {"rkd": relational, "sp": similarity}


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


@pytest.mark.parametrize("name", ["sp", "rkd", "pkt", "cc"])
def test_pooled_instances_are_the_means_over_positions(name):
    s, t = maps(4, 3, 2, 5), maps(4, 5, 3, 3, seed=1)
    loss = srkd.losses.build(name, instances="pooled")
    vectors = [
        torch.stack([x[..., i, j] for i in range(x.shape[2]) for j in range(x.shape[3])]).mean(0) for x in (s, t)
    ]
    assert loss(s, t).item() == pytest.approx(srkd.losses.build(name)(*vectors).item(), rel=1e-9)
    assert loss.permutation_invariant and not loss.stochastic


@pytest.mark.parametrize("name", ["pkt", "cc", "crd"])
def test_too_few_instances_raise(name):
    with pytest.raises(SrkdError, match="at least 2 instances, got 1"):
        srkd.losses.build(name).prepare(maps(1, 3, 4, 4), maps(1, 3, 4, 4))
