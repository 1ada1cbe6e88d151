"""A teacher with fewer labels than the student, for continual learning."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss, positive, shapes_of
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
