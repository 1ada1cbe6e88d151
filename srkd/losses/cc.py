"""Similarities between instances through a Gaussian kernel (CC)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import factory_kwargs
from srkd.losses.base import integer, positive, unprepared
from srkd.losses.numeric import cosines
from srkd.losses.registry import register
from srkd.losses.relation import Relation


@register("cc")
class CorrelationCongruence(Relation):
    """mean (K_s - K_t)^2, K = the Gaussian kernel exp(-gamma |x - y|^2) of L2-normalised instances as a Taylor series.

    K = exp(-2 gamma) sum over p = 0..order of (2 gamma)^p / p! cos^p; gamma 0.4, order 2.

    Option `neighbour`: instead the authors' code, mean over i of the inner product of |s - t|_i and |s - t|_(i+1),
    which compares each instance with the next in the batch and so depends on their order; s and t are learned linear
    embeddings of size `dim`, one per side, of instances; images and patches are averaged over their positions first.

    Shapes: maps (N, C, H, W) or vectors (N, C) of any channels, any range. Default weight: SR 100 with patches or
    pixels; classification 100 (`neighbour`: 0.02). Cost: b^2 D multiply-adds per side, memory b^2 and the flattened
    maps (channels_last maps are not copied): 16 images of 64 x 48 x 48 take 0.04 G, 256 pixels of 64 channels 0.004 G.
    Source: Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019 (arXiv:1904.01802): the kernel.
    RepDistiller: distiller_zoo/CC.py with LinearEmbed of models/util.py, which is `neighbour`.
    """

    zero_at_equal = True

    def __init__(
        self,
        gamma: float = 0.4,
        order: int = 2,
        neighbour: bool = False,
        instances: str = "image",
        patch: int = 8,
        samples: int = 256,
        dim: int = 128,
    ) -> None:
        super().__init__(instances, patch, samples)
        self.gamma, self.order, self.neighbour = positive("gamma", gamma), integer("order", order), neighbour
        self.dim = integer("dim", dim)
        self.embed_s: nn.Module | None = None
        self.embed_t: nn.Module | None = None
        if neighbour:
            self.permutation_invariant = self.zero_at_equal = False

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        if self.neighbour:
            factory = factory_kwargs(student)
            self.embed_s = nn.Linear(student.shape[1], self.dim, **factory)
            self.embed_t = nn.Linear(teacher.shape[1], self.dim, **factory)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if not self.neighbour:
            student, teacher = self.vectors(student, teacher)
            return F.mse_loss(self._kernel(cosines(student)), self._kernel(cosines(teacher)))
        if self.embed_s is None or self.embed_t is None:
            raise unprepared(self, "embeddings")
        student, teacher = self.pooled_vectors(student, teacher)
        errors = (self.embed_s(student) - self.embed_t(teacher)).abs()
        output: Tensor = (errors[:-1] * errors[1:]).sum(1).mean()
        return output

    def _kernel(self, cosine: Tensor) -> Tensor:
        factors = [(2 * self.gamma) ** p / math.factorial(p) for p in range(self.order + 1)]
        series = cosine.new_full((), factors[-1])
        for factor in reversed(factors[:-1]):
            series = series * cosine + factor
        return series * math.exp(-2 * self.gamma)
