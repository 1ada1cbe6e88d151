"""Content loss: images compared at named layers of a VGG network, as SRGAN and BasicSR do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, choice, positive, shapes_of
from srkd.losses.registry import register
from srkd.losses.vgg import VGGFeatures


@register("PerceptualLoss")
class PerceptualLoss(Loss):
    """sum over layers l of w_l mean |phi_l(s) - phi_l(g)| (`criterion: l1`) or (phi_l(s) - phi_l(g))^2 (`l2`).

    `layer_weights` names VGG's layers: conv5_4 is the fourth convolution before the fifth pooling, relu5_4 its
    activation. SRGAN's VGG54 is {relu5_4: 1} with l2, VGG22 {relu2_2: 1}; BasicSR takes {conv5_4: 1} with l1.
    `vgg_path` is `hub` for torchvision's VGG-19 or the path of a state dict with its names; options are BasicSR's.

    Shapes: images (N, 3, H, W) in [0, 1]. Default weight: SR 1.0 (SRGAN scales squares by 0.006), classification
    none. Cost: two passes of VGG-19 to the deepest layer, one with backward: many times a light student's step.
    Source: Johnson et al., ECCV 2016; Ledig et al., SRGAN, CVPR 2017.
    """

    kind: ClassVar[str] = "output"
    reference: ClassVar[str] = "target"
    zero_at_equal = True

    def __init__(
        self,
        layer_weights: Mapping[str, float],
        vgg_path: str | nn.Module = "hub",
        criterion: str = "l1",
        use_input_norm: bool = True,
        range_norm: bool = False,
    ) -> None:
        super().__init__()
        if not layer_weights:
            raise ValueError("layer_weights is empty; give e.g. {conv5_4: 1.0}")
        self.layer_weights = {str(k): positive(f"layer_weights.{k}", v) for k, v in layer_weights.items()}
        self.distance = F.l1_loss if choice("criterion", criterion, ("l1", "l2")) == "l1" else F.mse_loss
        vgg = vgg_path if isinstance(vgg_path, VGGFeatures) else VGGFeatures(str(vgg_path))
        if not use_input_norm:
            vgg.mean.zero_()
            vgg.deviation.fill_(1)
        self.range_norm = range_norm
        # In a list it is not a submodule: checkpoints need no copy of frozen weights.
        self._vgg = [vgg]
        self.depth = _depth(vgg, self.layer_weights)
        # The smallest image side for which the deepest layer has at least one pixel: conv2_1 is after one pooling.
        self.min_side = 2 ** max(int(re.findall(r"\d+", n)[0]) - (not n.startswith("pool")) for n in self.layer_weights)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        with torch.no_grad():
            reference = self._features(teacher)
        features = self._features(student)
        values = [w * self.distance(features[name], reference[name]) for name, w in self.layer_weights.items()]
        return torch.stack(values).sum()

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        vgg = self._vgg[0] = self._vgg[0].to(images.device)
        x = (images + 1) / 2 if self.range_norm else images
        x, maps = (x - vgg.mean) / vgg.deviation, {}
        for number, (name, layer) in enumerate(_layers(vgg)):
            x = layer(x)
            if name in self.layer_weights:
                maps[name] = x
            if number == self.depth:
                break
        return maps

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        if student.ndim != 4 or min(student.shape[2:]) < self.min_side:
            smallest = f"{self.min_side}x{self.min_side}"
            raise ValueError(
                f"its deepest layer needs images of at least {smallest}, got {shapes_of(student, teacher)}"
            )

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = torch.rand(3, 3, 8, 8, generator=rng), torch.rand(3, 3, 8, 8, generator=rng)
        options = {"layer_weights": {"conv2_1": 1.0, "relu1_1": 0.5}, "vgg_path": _small_vgg()}
        return Example(student, teacher, None, {}, options)


def _layers(vgg: VGGFeatures) -> list[tuple[str, nn.Module]]:
    """VGG's layers in order by their usual names: conv1_1, relu1_1, ..., pool1, conv2_1, ..."""
    named: list[tuple[str, nn.Module]] = []
    for level, block in enumerate(vgg.blocks, 1):
        number = 0
        for layer in block.children():
            number += isinstance(layer, nn.Conv2d)
            kind = {nn.Conv2d: "conv", nn.ReLU: "relu"}.get(type(layer))
            named.append((f"{kind}{level}_{number}" if kind else f"pool{level - 1}", layer))
    return named


def _depth(vgg: VGGFeatures, layers: Mapping[str, float]) -> int:
    known = [name for name, _ in _layers(vgg)]
    missing = [name for name in layers if name not in known]
    if missing:
        raise ValueError(f"layer_weights: unknown layer {', '.join(missing)}; available: {', '.join(known)}")
    return max(known.index(name) for name in layers)


def _small_vgg() -> VGGFeatures:
    """A minimal VGG of two blocks with fixed weights, for tests."""
    return VGGFeatures(
        {
            f"features.{number}.{part}": torch.randn(shape, generator=torch.Generator().manual_seed(number)) / 4
            for number, width in ((0, 3), (3, 4))
            for part, shape in (("weight", (4, width, 3, 3)), ("bias", (4,)))
        }
    )
