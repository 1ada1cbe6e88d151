"""Cross-entropy, the task loss of classifiers."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, positive
from srkd.losses.logits import flat_labels
from srkd.losses.registry import register


@register("CrossEntropyLoss")
class CrossEntropyLoss(Loss):
    """-sum_c q_c log softmax(s)_c, the mean over labels; q is one-hot, smoothed by `label_smoothing`.

    Labels equal to `ignore_index` are ignored (padding); 0 if all are. Mixed examples (mixup) have probabilities as
    labels: floats of the logits' shape.

    Shapes: logits (N, C) or (N, C, ...), any range, against labels (N) or (N, ...), 0 to C - 1, or probabilities of the
    logits' shape. Default weight: classification 1.0; SR none. Cost: one softmax, over few labels if most
    are ignored.
    Source: label smoothing from Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016 (arXiv:1512.00567).
    """

    kind: ClassVar[str] = "logits"
    reference: ClassVar[str] = "target"
    renamed: ClassVar[dict[str, str]] = {"ignore": "ignore_index"}

    def __init__(self, label_smoothing: float = 0.0, ignore_index: int = -100) -> None:
        super().__init__()
        if not positive("label_smoothing", label_smoothing, zero=True) < 1:
            raise ValueError(f"label_smoothing must be from 0 to below 1, got {label_smoothing}")
        self.label_smoothing, self.ignore_index = label_smoothing, ignore_index

    def check(self, student: Tensor, teacher: Tensor | None) -> None:
        """Nothing to do: `flat_labels` compares labels with logits."""

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        smoothing = self.label_smoothing
        if teacher is not None and teacher.is_floating_point() and teacher.shape == student.shape:
            return F.cross_entropy(student, teacher, label_smoothing=smoothing)
        labels = flat_labels(self, teacher, student).view(student.shape[:1] + student.shape[2:])
        counted = labels != self.ignore_index
        number = counted.count_nonzero()
        if labels.ndim > 1 and 2 * int(number) < labels.numel():  # a recommender samples some 50 of 10,000 items
            example, place = counted.flatten(1).nonzero(as_tuple=True)
            student, labels = student.flatten(2)[example, :, place], labels.flatten(1)[example, place]
        total = F.cross_entropy(
            student, labels, ignore_index=self.ignore_index, reduction="sum", label_smoothing=smoothing
        )
        return total / number.clamp_min(1)

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        return Example(torch.randn(6, 5, generator=rng), torch.randint(5, (6,), generator=rng))
