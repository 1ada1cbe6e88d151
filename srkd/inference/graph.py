"""A network as one module from image to upscaled image, fused, for torch and for export to other runtimes.

Fusing folds arithmetic around convolutions into their weights; the output stays the same.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srkd.images.levels import from_levels, to_levels
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
            output: Tensor = self.network(x)
            return to_levels(output).permute(0, 2, 3, 1)
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


@torch.no_grad()
def fuse(network: nn.Module) -> nn.Module:
    """A copy of `network` for inference with the same output within 1e-5, in eval mode.

    Each module that defines `fused` (`srkd.networks.base.SRNetwork`) is replaced by its fused form, inner modules
    first. Then each batch norm that follows a convolution is folded into it, in any network that torch.fx can trace.
    """
    fused = _fused(copy.deepcopy(network).eval()).eval()
    if any(isinstance(module, nn.BatchNorm2d) for module in fused.modules()):
        _fold_batch_norms(fused)
    return fused


def _fused(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _fused(child))
    fused = getattr(type(module), "fused", None)
    return fused(module) if callable(fused) else module


def _fold_batch_norms(network: nn.Module) -> None:
    """Fold batch norms into the convolutions before them, in place; a network that cannot be traced is unchanged."""
    try:
        # A copy: networks such as DAT keep what their forward pass computes (`self.mean`), here tracing's proxies.
        graph = fx.symbolic_trace(copy.deepcopy(network)).graph
    except Exception:  # tracing runs the network's own code, which may raise anything for a proxy
        return
    calls = [node for node in graph.nodes if node.op == "call_module"]
    modules = {node: network.get_submodule(str(node.target)) for node in calls}
    once = {node for node in calls if sum(modules[node] is modules[other] for other in calls) == 1}
    for node in calls:
        before = node.args[0] if node.args else None
        if not isinstance(before, fx.Node) or not {node, before} <= once or len(before.users) != 1:
            continue
        convolution, norm = modules[before], modules[node]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None:
            _replace(network, str(before.target), fuse_conv_bn_eval(convolution, norm))
            _replace(network, str(node.target), nn.Identity())


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    owner, _, name = path.rpartition(".")
    setattr(network.get_submodule(owner), name, module)


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
