"""Focal loss whose exponent depends on the sample (FLSD)."""

from __future__ import annotations

import torch
from torch import Tensor

from srkd.losses.focal import Focal
from srkd.losses.registry import register


@register("flsd")
class SampleDependentFocal(Focal):
    """Focal loss with a gamma per sample: 5 where p < 0.2, else 3 (FLSD-53); the mean over samples.

    Labels equal to `ignore_index` are ignored (padding); 0 if all are.

    Shapes: logits (N, C) or (N, C, ...), any range, against labels (N) or (N, ...), 0 to C - 1. Default weight:
    classification 1.0 in place of cross-entropy; SR none. Cost: one softmax.
    Source: Mukhoti et al., "Calibrating Deep Neural Networks using Focal Loss", NeurIPS 2020 (arXiv:2002.09437).
    """

    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)

    def gamma_of(self, probability: Tensor) -> Tensor | float:
        return torch.where(probability < 0.2, 5.0, 3.0).to(probability.dtype)
