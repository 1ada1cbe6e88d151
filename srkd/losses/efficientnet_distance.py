"""Images compared by the features of EfficientNet-Lite0, as a perceptual loss without VGG."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from srkd.losses.base import Example, Loss, shapes_of
from srkd.losses.efficientnet import STRIDE, EfficientNetLite0, FeatureDistance
from srkd.losses.registry import register


@register("efficientnet_distance")
class EfficientNetLoss(Loss):
    """Mean over the batch of `FeatureDistance`: sum over layers of mean |u(f(s)) - u(f(t))|^2, u of unit length.

    f are EfficientNet-Lite0's stem and blocks 0, 2 and 4, whose strides are 2 to 8. Every call draws a
    shift of 0 to 7 pixels down and right: features of a single shift do not see a grid of period 2. They still reward
    one, above all in grass and sky, since it has the texture that a network cannot predict: add the loss `grid`.

    Shapes: images (N, 3, H, W) in [0, 1], sides of at least 2. Default weight: SR 0.03 beside L1, classification none.
    Cost: two passes of the first five blocks, one with backward. The weights (18 MB) are fetched on first use.
    Source: Zhang et al., LPIPS, CVPR 2018, with the features of EfficientNet-Lite0 (Google, 2020) and without learned
    weights.
    """

    kind: ClassVar[str] = "output"
    zero_at_equal = True
    stochastic = True
    keeps_autocast: ClassVar[bool] = True

    def __init__(self, weights: str | EfficientNetLite0 = "pretrained") -> None:
        super().__init__()
        if not isinstance(weights, EfficientNetLite0) and weights != "pretrained":
            raise ValueError(f"weights must be pretrained, got {weights!r}")
        network = weights if isinstance(weights, EfficientNetLite0) else None
        # In a list it is not a submodule: checkpoints need no copy of frozen weights.
        self._distance: list[FeatureDistance] = [] if network is None else [FeatureDistance(network)]

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim != 4 or student.shape[1] != 3 or min(student.shape[2:]) < 2:
            raise ValueError(f"needs RGB images of at least 2x2, got {shapes_of(student, teacher)}")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if not self._distance:
            self._distance.append(FeatureDistance())
        distance = self._distance[0] = self._distance[0].to(student.device)
        reach = min(STRIDE, *student.shape[2:])
        down, right = torch.randint(reach, (2,)).tolist()
        output: Tensor = distance(student, teacher, [(down, right)]).float().mean()
        return output

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = torch.rand(3, 3, 12, 12, generator=rng), torch.rand(3, 3, 12, 12, generator=rng)
        return Example(student, teacher, None, {}, {"weights": _random_network()})


# Kernel, input, expanded and output channels of blocks 0 to 4.
_FIRST_BLOCKS = ((3, 32, 32, 16), (3, 16, 96, 24), (3, 24, 144, 24), (5, 24, 144, 40), (5, 40, 240, 40))


def _random_network() -> EfficientNetLite0:
    """A network with fixed random weights, for tests."""
    rng, state = torch.Generator().manual_seed(0), dict[str, Tensor]()

    def add(name: str, norm: str, *shape: int) -> None:
        state[f"{name}.weight"] = torch.randn(shape, generator=rng) / (shape[1] * shape[2] * shape[3]) ** 0.5
        for key, value in (("weight", 1.0), ("bias", 0.5), ("running_mean", 0.0), ("running_var", 1.0)):
            state[f"{norm}.{key}"] = torch.full(shape[:1], value)

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    for number, (kernel, inputs, inner, outputs) in enumerate(_FIRST_BLOCKS):
        block = f"_blocks.{number}."
        if inner != inputs:
            add(f"{block}_expand_conv", f"{block}_bn0", inner, inputs, 1, 1)
        add(f"{block}_depthwise_conv", f"{block}_bn1", inner, 1, kernel, kernel)
        add(f"{block}_project_conv", f"{block}_bn2", outputs, inner, 1, 1)
    return EfficientNetLite0(state, len(_FIRST_BLOCKS))
