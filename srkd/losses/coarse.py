"""A teacher with coarser labels than the student's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, positive, shapes_of, unprepared
from srkd.losses.logits import divergence
from srkd.losses.registry import register


@register("coarse")
class Coarse(Loss):
    """KL(softmax(t / T) || q) T^2, q the student's softmax(s / T) summed over each family; the mean over the batch.

    `families` lists the family, a class of the teacher, of each of the student's classes: [0, 0, 1, 2, 1]. By default
    they come from the task, if it has a hierarchy.

    Shapes: logits (N, C_s) and (N, C_t), any range. Default weight: text classification 1.0 alongside cross-entropy; SR
    none. Cost: two softmaxes and N C_s C_t for the sums.
    Source: heterogeneous knowledge distillation for text classification; KL of Hinton et al., 2015 (arXiv:1503.02531).
    """

    kind: ClassVar[str] = "logits"
    shapes: ClassVar[str] = "vectors"
    members: Tensor

    def __init__(self, families: Sequence[int] | None = None, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.needs = ("families",) if families is None else ()
        # Empty until the dry run, in which the task provides the families.
        self.register_buffer("members", torch.zeros(0, 0) if families is None else _members(families), persistent=False)

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        families, classes = self.members.shape
        if classes and (student.shape[1], teacher.shape[1]) != (classes, families):
            raise ValueError(
                f"families need (N, {classes}) for the student and (N, {families}) for the teacher, got "
                f"{shapes_of(student, teacher)}"
            )

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        if self.needs:
            self.members = _members(context["families"]).to(student.device)
            self.check(student, teacher)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if not self.members.numel():
            raise unprepared(self, "table of families")
        log_fine = F.log_softmax(student / self.temperature, dim=1)
        log_family = log_fine[:, None].masked_fill(~self.members, -torch.inf).logsumexp(2)
        return divergence(log_family, F.log_softmax(teacher / self.temperature, dim=1)) * self.temperature**2

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = torch.randn(4, 5, generator=rng), torch.randn(4, 3, generator=rng)
        return Example(student, teacher, options={"families": [0, 0, 1, 2, 1]})


def _members(families: Sequence[int]) -> Tensor:
    """Membership of classes in families: (families, classes), bool."""
    if not families or set(families) != set(range(max(families) + 1)):
        raise ValueError(f"families must number each class's family from 0 without gaps, got {list(families)}")
    if max(families) == 0:
        raise ValueError("families has a single family, for which the loss is 0: give at least 2")
    return torch.tensor(families)[None] == torch.arange(max(families) + 1)[:, None]
