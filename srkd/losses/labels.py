"""Teachers with other labels than the student's: fewer (continual learning) or coarser ones (families)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss, positive, shapes_of, unprepared
from srkd.losses.logits import divergence
from srkd.losses.registry import register


@register("masked_kl")
class MaskedKL(Loss):
    """KL(softmax(t / T) || softmax(s_old / T)) T^2, the mean over the tokens where `mask` is true.

    s_old are the student's logits of the teacher's labels, which come first; the softmax runs over these only. `mask`
    marks the tokens labelled O in this step, which may belong to an earlier type; 0 if no token is marked.

    Shapes: logits (..., C_s) and (..., C_t), classes last, C_s >= C_t, any range; `mask` (...) of booleans. Default
    weight: NER 1.0 alongside cross-entropy; SR none. Cost: two softmaxes over the marked tokens.
    Source: continual named-entity recognition: Monaikul et al., "Continual Learning for Named Entity Recognition", AAAI
    2021; KL of Hinton et al., 2015 (arXiv:1503.02531).
    """

    kind: ClassVar[str] = "logits"
    needs = ("mask",)
    zero_at_equal = True

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)

    def check(self, student: Tensor, teacher: Tensor) -> None:
        if teacher is None or student.shape[:-1] != teacher.shape[:-1] or student.shape[-1] < teacher.shape[-1]:
            raise ValueError(
                f"needs logits (..., C), whose first labels are the teacher's, got {shapes_of(student, teacher)}"
            )
        if teacher.shape[-1] < 2:
            raise ValueError(
                f"needs a teacher with at least 2 labels (with 1 the loss is 0), got {shapes_of(student, teacher)}"
            )

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        mask = context.get("mask")
        if mask is None or mask.dtype != torch.bool or mask.shape != student.shape[:-1]:
            got = "nothing" if mask is None else f"{mask.dtype} of shape {tuple(mask.shape)}"
            raise SrkdError(f"masked_kl: needs a boolean mask of shape {tuple(student.shape[:-1])}, got {got}")
        ours, theirs = student[..., : teacher.shape[-1]][mask], teacher[mask]
        log_s, log_t = (F.log_softmax(x / self.temperature, dim=1) for x in (ours, theirs))
        total = F.kl_div(log_s, log_t, reduction="sum", log_target=True)
        return total / max(1, len(ours)) * self.temperature**2

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = torch.randn(3, 4, 5, generator=rng), torch.randn(3, 4, 5, generator=rng)
        return Example(student, teacher, context={"mask": torch.rand(3, 4, generator=rng) < 0.7})


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
