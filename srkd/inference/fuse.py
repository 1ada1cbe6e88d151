"""Fusing for inference: arithmetic around convolutions is folded into their weights; the output stays the same."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


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
    return module.fused() if hasattr(module, "fused") else module  # type: ignore[operator]


def _fold_batch_norms(network: nn.Module) -> None:
    """Fold batch norms into the convolutions before them, in place; a network that cannot be traced is unchanged."""
    try:
        graph = fx.symbolic_trace(network).graph
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
