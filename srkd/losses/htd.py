"""Hierarchical topology: relations within learned groups of entities, and between entities and groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import factory_kwargs
from srkd.losses.base import Example, Loss, integer, positive, unprepared
from srkd.losses.ftd import check_entities
from srkd.losses.numeric import l2_normalise
from srkd.losses.registry import register


class EntityGroups(nn.Module):
    """Groups of one layer's entities: the assignment of teacher vectors to `number` groups, and a two-layer perceptron
    per group that predicts them from the student's vectors."""

    def __init__(self, number: int, ours: int, theirs: int, **factory: Any) -> None:
        super().__init__()
        self.assignment = nn.Linear(theirs, number, **factory)
        width = (ours + theirs) // 2
        self.hints = nn.ModuleList(
            nn.Sequential(nn.Linear(ours, width, **factory), nn.ReLU(), nn.Linear(width, theirs, **factory))
            for _ in range(number)
        )

    def hint(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """sum |t - sum_z share_z hint_z(s)|^2, the shares a Gumbel-softmax of the teacher's assignment."""
        logits = self.assignment(teacher)
        # -log of an exponential sample is a Gumbel sample. Sampled from the CPU's global random state on every device.
        noise = -torch.empty(logits.shape).exponential_().clamp_min(1e-20).log().to(logits)
        share = ((logits + noise) / temperature).softmax(1)
        # The shares multiply the hidden layers, so that one product replaces `number` predictions per entity.
        first, last = ([cast("nn.Linear", cast("nn.Sequential", h)[place]) for h in self.hints] for place in (0, 2))
        hidden = [layer(student).relu() * part for layer, part in zip(first, share.split(1, 1), strict=True)]
        hinted = torch.cat(hidden, 1) @ torch.cat([layer.weight for layer in last], 1).T
        hinted = hinted + share @ torch.stack([layer.bias for layer in last])
        output: Tensor = (hinted - teacher).square().sum()
        return output


@register("htd")
class HierarchicalTopology(Loss):
    """balance (within + between) + (1 - balance) hint, each a sum.

    Each entity belongs to one of its layer's `groups`, the argmax of a learned linear map of the *teacher's* vector.
    within: (cos_t - cos_s)^2 over pairs in one group whose cos_t is positive, each in both orders. between: the same
    over all pairs of a group's centre (the mean of its members) and an entity of any layer; the student's centres are
    detached. hint: |t - f_z(s)|^2 over entities, f_z two-layer perceptrons, z a Gumbel-softmax of that map at
    `temperature`: it makes a group consist of entities that one perceptron can predict.

    Shapes: lists of vectors (N, D_s) and (N, D_t), the same N entities per layer, one D per side; any range. Default
    weight: recommenders 0.001 to 0.1; SR none. Cost: N^2 (D_s + D_t) / `groups` + N `groups` (D_s + D_t)^2 / 2
    multiply-adds if the groups are of similar size, memory N^2 / `groups` + N `groups` (D_s + D_t) / 2, N summed over
    layers.
    Source: Kang et al., "Topology Distillation for Recommender System", KDD 2021 (arXiv:2106.08700), the form Group(P,
    e). Official code: SeongKu-Kang/Topology_Distillation_KDD21, model.py (HTD) and its guide: 30 groups, balance 0.5.
    """

    layers: ClassVar[str] = "list"
    shapes: ClassVar[str] = "vectors"
    stochastic = True
    permutation_invariant = False

    def __init__(self, groups: int = 30, balance: float = 0.5, temperature: float = 0.1) -> None:
        super().__init__()
        self.number, self.temperature = integer("groups", groups, 2), positive("temperature", temperature)
        if positive("balance", balance, zero=True) > 1:
            raise ValueError(f"balance must be from 0 to 1, got {balance}")
        self.balance = balance
        self.groups: nn.ModuleList | None = None

    def check_layers(self, student: Sequence[Tensor], teacher: Sequence[Tensor] | None) -> None:
        super().check_layers(student, teacher)
        assert teacher is not None
        check_entities(student, teacher)

    def fit(self, student: Sequence[Tensor], teacher: Sequence[Tensor], **context: Any) -> None:
        self.groups = nn.ModuleList(
            EntityGroups(self.number, s.shape[1], t.shape[1], **factory_kwargs(s))
            for s, t in zip(student, teacher, strict=True)
        )

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], target: Tensor | None = None, **context: Any
    ) -> Tensor:
        if self.groups is None:
            raise unprepared(self, "groups")
        layers = [(cast("EntityGroups", g), s, t) for g, s, t in zip(self.groups, student, teacher, strict=True)]
        hint = torch.stack([groups.hint(s, t, self.temperature) for groups, s, t in layers]).sum()
        with torch.no_grad():
            numbers = [k * self.number + groups.assignment(t).argmax(1) for k, (groups, _, t) in enumerate(layers)]
        relations = topology(torch.cat(list(student)), torch.cat(list(teacher)), torch.cat(numbers))
        return self.balance * relations + (1 - self.balance) * hint

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = ([torch.randn(n, d, generator=rng) for n in (8, 5)] for d in (4, 6))
        return Example(student, teacher, options={"groups": 3})


def topology(student: Tensor, teacher: Tensor, group: Tensor) -> Tensor:
    """within + between of vectors (N, D_s) and (N, D_t); `group` (N) is the number of each entity's group."""
    member = F.one_hot(group.unique(return_inverse=True)[1]).to(student)
    near_s, near_t = l2_normalise(student, 1), l2_normalise(teacher, 1)
    within = torch.stack([_positive(near_s[own], near_t[own]) for own in member.T.bool()]).sum()
    share = (member / member.sum(0)).T
    centre_s, centre_t = (l2_normalise(share @ side, 1) for side in (student.detach(), teacher))
    return within + F.mse_loss(centre_s @ near_s.T, centre_t @ near_t.T, reduction="sum")


def _positive(student: Tensor, teacher: Tensor) -> Tensor:
    """sum (cos_t - cos_s)^2 over the pairs of unit vectors with cos_t > 0."""
    cos_t = teacher @ teacher.T
    return torch.where(cos_t > 0, student @ student.T - cos_t, 0).square().sum()
