"""A network as one module from image to upscaled image, for export to other runtimes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srkd.images.levels import from_levels, to_levels
from srkd.inference.fuse import fuse
from srkd.networks.sides import padded_side
from srkd.networks.tail import SubpixelOutput


class Uint8Graph(nn.Module):
    """uint8 (N, H, W, 3) RGB to uint8 (N, scale H, scale W, 3): scaling, clamp and rounding included.

    For a `SubpixelOutput` the last pixel shuffle runs on uint8 instead of floats.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        dtype = next((p.dtype for p in self.network.parameters()), torch.float32)
        x = from_levels(pixels.permute(0, 3, 1, 2)).to(dtype)
        if not isinstance(self.network, SubpixelOutput):
            return to_levels(self.network(x)).permute(0, 2, 3, 1)
        factor = self.network.factor
        cells = self.network.subpixels(x, to_levels).permute(0, 2, 3, 1)
        n, height, width, _ = cells.shape
        rows = cells.reshape(n, height, width, factor, factor * 3).transpose(2, 3)
        return rows.reshape(n, height * factor, width * factor, 3)


class Float32Graph(nn.Module):
    """float32 (N, 3, H, W) in [0, 1] to (N, 3, scale H, scale W), not clamped."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.network(image)
        return output


def graph_of(network: nn.Module, uint8: bool = True) -> nn.Module:
    """A fused copy of `network`, in eval mode on the CPU, as `Uint8Graph` or `Float32Graph`."""
    fused = fuse(network).cpu()
    return (Uint8Graph(fused) if uint8 else Float32Graph(fused)).eval()


def example(uint8: bool, multiple: int = 1, minimum: int = 1) -> Tensor:
    """An example input for tracing; height and width differ, so that a tracer cannot confuse them."""
    height = padded_side(32, multiple, minimum)
    width = padded_side(height + 8, multiple)
    return torch.zeros(1, height, width, 3, dtype=torch.uint8) if uint8 else torch.zeros(1, 3, height, width)


def layers(graph: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions of a graph by name: the layers that int8 can be enabled for."""
    return {name: module for name, module in graph.named_modules() if isinstance(module, nn.Conv2d)}
