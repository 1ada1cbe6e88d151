"""Features of a VGG network, for losses in a perceptual space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from srkd.errors import SrkdError


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
