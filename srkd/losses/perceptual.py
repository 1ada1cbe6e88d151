"""Outputs compared in a perceptual space: features of a VGG network, and contrastive self-distillation in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss, integer, positive, shapes_of
from srkd.losses.registry import register


class VGGFeatures(nn.Module):
    """The first activation of each resolution of a VGG network: relu1_1, relu2_1, ..., relu5_1 of VGG-19.

    Args:
        weights: `hub`, torchvision's VGG-19 (downloaded by torchvision), or a state dict with torchvision's names
            (`features.0.weight` ...), or its path. The layers follow from names and shapes: a gap of 2 between
            the numbers of two convolutions is a ReLU, one of 3 a ReLU and a pooling.

    Frozen, in eval mode. Images (N, 3, H, W) in [0, 1] are normalised with ImageNet's mean and standard deviation.

    Raises:
        SrkdError: the weights cannot be loaded or are not those of a VGG.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: str | Mapping[str, Tensor]) -> None:
        super().__init__()
        state = _vgg_state(weights) if isinstance(weights, str) else weights
        numbers = sorted({int(key.split(".")[1]) for key in state})
        self.blocks, block = nn.ModuleList(), nn.Sequential()
        for number, following in zip(numbers, [*numbers[1:], numbers[-1] + 3], strict=True):
            weight, bias = state[f"features.{number}.weight"], state[f"features.{number}.bias"]
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2)
            convolution.load_state_dict({"weight": weight, "bias": bias})
            block.append(convolution).append(nn.ReLU())
            if following - number == 3:
                self.blocks.append(block)
                block = nn.Sequential(nn.MaxPool2d(2))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225])[:, None, None])
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> VGGFeatures:
        return super().train(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        x = (image - self.mean) / self.deviation
        for depth, block in enumerate(self.blocks):
            for layer in block.children():
                x = layer(x)
                if isinstance(layer, nn.ReLU) and len(maps) == depth:
                    maps.append(x)
                    if depth == len(self.blocks) - 1:
                        return maps
        return maps


def _vgg_state(weights: str) -> dict[str, Tensor]:
    if weights == "hub":
        try:
            from torchvision.models import VGG19_Weights

            state = VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False)
        except Exception as error:
            raise SrkdError(
                f"cannot download VGG-19 weights from torchvision's hub ({error}); give the path of a file with them"
            ) from error
    else:
        if not Path(weights).is_file():
            raise SrkdError(f'no VGG weights at "{weights}": give "hub" or the path of a state dict')
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        except Exception as error:
            raise SrkdError(f'"{weights}" is not a state dict that can be loaded safely: {error}') from error
    features = {key: value for key, value in state.items() if key.startswith("features.")}
    if not features or features.get("features.0.weight", torch.empty(0)).shape[1:2] != (3,):
        raise SrkdError(f'"{weights}" is not a VGG state dict: no features.0.weight for 3 channels')
    width = 3
    for number in sorted({int(key.split(".")[1]) for key in features}):
        weight, bias = (features.get(f"features.{number}.{part}", torch.empty(0)) for part in ("weight", "bias"))
        if weight.ndim != 4 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise SrkdError(
                f'"{weights}" is not a VGG state dict: features.{number} has weights {tuple(weight.shape)} and bias '
                f"{tuple(bias.shape)} after {width} channels"
            )
        width = len(weight)
    return features


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
        self.features = features if isinstance(features, nn.Module) else VGGFeatures(str(features))

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
            positives, negatives = self.features(teacher), self.features(bicubic)
        layers = list(zip(self.features(student), positives, negatives, strict=True))
        value = student.new_zeros(())
        for depth, (s, t, n) in enumerate(layers, 1):
            near = (s - t).abs().mean((1, 2, 3))
            far = sum((s - n.roll(-k, 0)).abs().mean((1, 2, 3)) for k in range(self.negatives))
            weight = 1.0 if depth == len(layers) else 0.5 ** (len(layers) - depth + 1)
            value = value + weight * (near / (far + self.eps)).mean()
        return value

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher = torch.rand(3, 3, 8, 8, generator=rng), torch.rand(3, 3, 8, 8, generator=rng)
        lr = torch.rand(3, 3, 4, 4, generator=rng)
        return Example(student, teacher, None, {"lr": lr}, {"features": _edges()})


class _Edges(nn.Module):
    """Differences to the right and lower neighbours: a minimal perceptual network, for tests."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image.diff(dim=3), image.diff(dim=2)]


def _edges() -> nn.Module:
    return _Edges()
