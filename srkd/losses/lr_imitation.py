"""Keeps a privileged teacher's encoding of the HR image close to the LR image (PISR)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss
from srkd.losses.registry import register


@register("lr_imitation")
class LRImitation(Loss):
    """mean |s - lr|: a privileged teacher's encoder must produce an image like the LR image.

    For training PISR's teacher: tap its `encoder`. Neither the teacher's side nor the ground truth is used.

    Shapes: maps (N, 3, h, w) of the LR image's shape, [0, 1]. Default weight: SR 1e-4 alongside L1 to the ground truth;
    classification none. Cost: one pass over the LR image.
    Source: Lee et al., "Learning with Privileged Information for Efficient Image Super-Resolution", ECCV 2020
    (arXiv:2007.07524). Official code: cvlab-yonsei/PISR, losses/loss_factory.py (teacher_LR_constraint_loss).
    """

    reference: ClassVar[str] = "target"
    needs = ("lr",)

    def check(self, student: Tensor, teacher: Tensor | None) -> None:
        """Nothing to do: `forward` compares with `lr`."""

    def forward(self, student: Tensor, teacher: Any = None, target: Tensor | None = None, **context: Any) -> Tensor:
        lr = context.get("lr")
        if lr is None or lr.shape != student.shape:
            got = "nothing" if lr is None else tuple(lr.shape)
            raise SrkdError(f"lr_imitation: needs lr of the shape {tuple(student.shape)} of its map, got {got}")
        return F.l1_loss(student, lr.to(student.dtype))

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, hr, lr = (torch.rand(4, 3, side, side, generator=rng) for side in (4, 8, 4))
        return Example(student, hr, None, {"lr": lr})
