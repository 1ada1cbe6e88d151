"""Mutual learning: networks without a teacher learn from each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, Maps, choice, positive
from srkd.losses.logits import divergence
from srkd.losses.registry import register


@register("mutual")
class MutualLearning(Loss):
    """The mean over networks i of T^2 / (N - 1) sum over peers j of D(stopgrad(z_j) || z_i).

    Option `divergence` selects D: `kl`, of softmax(z / T) over dimension 1, summed over classes, the mean over the
    batch; `bernoulli`, of p = sigmoid(z / T), p_j log(p_j / p_i) + (1 - p_j) log((1 - p_j) / (1 - p_i)), the mean over
    elements: for discriminators; `l2`, mean (z_i - z_j)^2 without temperature: for scores that are not probabilities.

    Shapes: a list of N >= 2 tensors of one shape as `student`; `teacher` is not used. Default weight: classification
    1.0 alongside cross-entropy; SR's discriminators 1.0. Cost: N (N - 1) passes over the outputs.
    Source: Zhang et al., "Deep Mutual Learning", CVPR 2018 (arXiv:1706.00384).
    """

    kind: ClassVar[str] = "logits"
    layers: ClassVar[str] = "list"
    zero_at_equal = True

    def __init__(self, divergence: str = "kl", temperature: float = 1.0) -> None:
        super().__init__()
        self.divergence = choice("divergence", divergence, ("kl", "bernoulli", "l2"))
        self.temperature = positive("temperature", temperature)

    def prepare(self, student: Maps, teacher: Maps | None = None, **context: Any) -> None:
        super().prepare(student, student, **context)

    def check_layers(self, student: Sequence[Tensor], teacher: Sequence[Tensor] | None) -> None:
        if len(student) < 2:
            raise ValueError(f"mutual learning needs at least 2 networks, got {len(student)}")
        shapes = [tuple(s.shape) for s in student]
        if len(set(shapes)) > 1:
            raise ValueError(f"the networks' outputs differ in shape: {', '.join(map(str, shapes))}")
        if self.divergence == "kl" and (len(shapes[0]) < 2 or shapes[0][1] < 2):
            raise ValueError(
                f"divergence kl needs logits of at least 2 classes, got {shapes[0]}: for a single "
                "logit use divergence bernoulli (probabilities) or l2 (scores)"
            )

    def forward(
        self, student: Sequence[Tensor], teacher: Any = None, target: Tensor | None = None, **context: Any
    ) -> Tensor:
        scale = 1.0 if self.divergence == "l2" else self.temperature
        outputs = [self._log_probabilities(z / scale) for z in student]
        pairs = [
            self._between(peer.detach(), own)
            for i, own in enumerate(outputs)
            for j, peer in enumerate(outputs)
            if i != j
        ]
        return torch.stack(pairs).mean() * scale**2

    def _log_probabilities(self, z: Tensor) -> Tensor:
        if self.divergence == "kl":
            return F.log_softmax(z, dim=1)
        # The last dimension is (log p, log(1 - p)).
        return torch.stack((F.logsigmoid(z), F.logsigmoid(-z)), -1) if self.divergence == "bernoulli" else z

    def _between(self, peer: Tensor, own: Tensor) -> Tensor:
        if self.divergence == "kl":
            return divergence(own, peer)
        if self.divergence == "bernoulli":
            return F.kl_div(own, peer, reduction="sum", log_target=True) * 2 / own.numel()
        return F.mse_loss(own, peer)

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        return Example([torch.randn(6, 5, generator=rng) for _ in range(3)], None)
