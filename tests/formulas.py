"""Slow float64 reference implementations for the tests of learned losses, computed from a state dict."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def perturb(loss: torch.nn.Module, seed: int = 5) -> dict[str, Tensor]:
    """Add noise to every parameter, so that no initial 0 or 1 hides a term; returns a copy of the state dict."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype)
    return {name: value.clone() for name, value in loss.state_dict().items()}


def convolution(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    """A convolution with same padding, as a sum over the kernel's positions."""
    weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
    n, c, h, w = x.shape
    side = weight.shape[2]
    padded = torch.zeros(n, c, h + side - 1, w + side - 1, dtype=x.dtype)
    padded[:, :, side // 2 : side // 2 + h, side // 2 : side // 2 + w] = x
    out = torch.zeros(n, len(weight), h, w, dtype=x.dtype)
    for i in range(side):
        for j in range(side):
            out += torch.einsum("oc,nchw->nohw", weight[:, :, i, j], padded[:, :, i : i + h, j : j + w])
    return out if bias is None else out + bias[None, :, None, None]


def batch_norm(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    """BatchNorm in training mode, by the batch's statistics."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    weight, bias = (state[f"{name}.{part}"][None, :, None, None] for part in ("weight", "bias"))
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def linear(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    return torch.einsum("nd,od->no", x, state[f"{name}.weight"]) + state[f"{name}.bias"]


def leaky(x: Tensor, slope: float) -> Tensor:
    return torch.where(x > 0, x, slope * x)


def nearest(x: Tensor, height: int, width: int) -> Tensor:
    """Nearest-neighbour resizing: the source pixel at or before each target position."""
    rows = [i * x.shape[2] // height for i in range(height)]
    columns = [j * x.shape[3] // width for j in range(width)]
    return x[:, :, rows][:, :, :, columns]


def blocks(x: Tensor, parts: int) -> Tensor:
    """Means over `parts` x `parts` equal blocks."""
    h, w = x.shape[2] // parts, x.shape[3] // parts
    rows = [[x[:, :, i * h : i * h + h, j * w : j * w + w].mean((2, 3)) for j in range(parts)] for i in range(parts)]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
