"""Contrastive self-distillation of outputs in a perceptual space."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss, integer, positive, shapes_of
from srkd.losses.registry import register
from srkd.losses.vgg import VGGFeatures


@register("csd")
class ContrastiveSelfDistillation(Loss):
    """mean over images of the sum over layers of w_l d_l(s, t) / sum over negatives of d_l(s, n); d = mean |phi - phi|.

    phi are the layers of a perceptual network, w_l = 2^-(L-l), times 1/2 more for all but the last (1/32, 1/16, 1/8,
    1/4, 1 for five). Negatives are bicubically upsampled LR images: the image's own, then those of the
    next `negatives` - 1 in the batch.

    Option `features`: `hub` for torchvision's VGG-19, the path of such weights, or a module from images to a list of
    maps (frozen by the caller).

    Shapes: outputs (N, 3, H, W) in [0, 1], `lr` (N, 3, h, w) in [0, 1]. Default weight: SR 200 (the paper's, for its
    own sum); classification none. Cost: three passes of the perceptual network, one with backward: many times a light
    student's step.
    Source: Wang et al., "Towards Compact Single Image Super-Resolution via Contrastive Self-distillation", IJCAI 2021
    (arXiv:2105.11683).
    """

    kind: ClassVar[str] = "output"
    needs = ("lr",)
    zero_at_equal = True

    def __init__(self, features: str | nn.Module = "hub", negatives: int = 1, eps: float = 1e-6) -> None:
        super().__init__()
        self.negatives, self.eps = integer("negatives", negatives), positive("eps", eps)
        self.permutation_invariant = negatives == 1
        # In a list it is not a submodule: checkpoints need no copy of frozen weights.
        self._features = [features if isinstance(features, nn.Module) else VGGFeatures(str(features))]

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim != 4:
            raise ValueError(f"needs outputs (N, C, H, W), got {shapes_of(student, teacher)}")

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        if self.negatives > len(student):
            raise ValueError(f"negatives: {self.negatives} needs a batch of at least that size, got {len(student)}")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        lr = context.get("lr")
        if lr is None:
            raise SrkdError("csd: needs the LR images (lr) for its negatives")
        with torch.no_grad():
            bicubic = F.interpolate(lr.to(student), student.shape[2:], mode="bicubic", align_corners=False).clamp(0, 1)
            positives, negatives = self._maps(teacher), self._maps(bicubic)
        layers = list(zip(self._maps(student), positives, negatives, strict=True))
        value = student.new_zeros(())
        for depth, (s, t, n) in enumerate(layers, 1):
            near = (s - t).abs().mean((1, 2, 3))
            far = sum((s - n.roll(-k, 0)).abs().mean((1, 2, 3)) for k in range(self.negatives))
            weight = 1.0 if depth == len(layers) else 0.5 ** (len(layers) - depth + 1)
            value = value + weight * (near / (far + self.eps)).mean()
        return value

    def _maps(self, images: Tensor) -> list[Tensor]:
        network = self._features[0] = self._features[0].to(images)
        maps: list[Tensor] = network(images)
        return maps

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = torch.rand(3, 3, 8, 8, generator=rng), torch.rand(3, 3, 8, 8, generator=rng)
        lr = torch.rand(3, 3, 4, 4, generator=rng)
        return Example(student, teacher, None, {"lr": lr}, {"features": _Edges()})


class _Edges(nn.Module):
    """Differences to the right and lower neighbours: a minimal perceptual network, for tests."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image.diff(dim=3), image.diff(dim=2)]
