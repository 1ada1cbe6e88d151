"""Norms and inner products that stay finite, with finite gradients, where a vector is zero; gradients made early."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# A vector shorter than this has no direction: normalised it is zero, with zero gradient instead of one of 1 / length.
SHORTEST = 1e-8


def inverse_norm(squares: Tensor) -> Tensor:
    """1 / sqrt(squares), and zero, with zero gradient, where that length is below `SHORTEST`."""
    real = squares > SHORTEST**2
    return torch.where(real, torch.where(real, squares, 1).rsqrt(), 0)


def unit(vectors: Tensor, dim: int) -> Tensor:
    """n(v): vectors along `dim` divided by their L2 norm; zero vectors stay zero."""
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors * torch.where(length > SHORTEST, 1 / length.clamp_min(SHORTEST), 0)


def in_memory_order(maps: Tensor) -> Tensor:
    """(N, ...) as (N, -1) in the order of memory, free of copies for channels_last maps too.

    For inner products within one side only, where any order of the elements will do.
    """
    if maps.ndim == 4 and maps.is_contiguous(memory_format=torch.channels_last):
        maps = maps.permute(0, 2, 3, 1)
    return maps.flatten(1)


def gram(vectors: Tensor) -> Tensor:
    """Inner products (b, b) of the rows of (b, D)."""
    return vectors @ vectors.T


def cosines(vectors: Tensor) -> Tensor:
    """Cosines (b, b) between the rows of (b, D), by way of their Gram matrix; zero for zero rows."""
    products = gram(vectors)
    inverse = inverse_norm(products.diagonal())
    return products * inverse[:, None] * inverse[None, :]


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None


def with_gradient(x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """The scalar `value` as a function of `x` whose gradient is `gradient`.

    For values summed over blocks too large to keep: the gradient is summed in the same pass, and nothing of the blocks
    waits for the backward pass.
    """
    return _WithGradient.apply(x, value, gradient)
