"""Norms and inner products with finite values and gradients for zero vectors; precomputed gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Shorter vectors are normalised to zero, with zero gradient instead of one of order 1 / length.
MIN_NORM = 1e-8


def inverse_norm(squares: Tensor) -> Tensor:
    """1 / sqrt(squares), or zero with zero gradient where the length is below `MIN_NORM`."""
    nonzero = squares > MIN_NORM**2
    return torch.where(nonzero, torch.where(nonzero, squares, 1).rsqrt(), 0)


class _Unit(torch.autograd.Function):
    """v / |v| in three passes forward and backward, instead of ten with torch's operations."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, dim: tuple[int, ...]) -> Tensor:
        length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
        inverse = torch.where(length > MIN_NORM, 1 / length, 0)
        directions = vectors * inverse
        ctx.dim = dim
        ctx.save_for_backward(directions, inverse)
        return directions

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        directions, inverse = ctx.saved_tensors
        along = (upstream * directions).sum(ctx.dim, keepdim=True)
        return torch.addcmul(upstream, directions, along, value=-1).mul_(inverse), None


def l2_normalise(vectors: Tensor, *dim: int) -> Tensor:
    """n(v): vectors along `dim` divided by their L2 norm; zero vectors stay zero."""
    output: Tensor = _Unit.apply(vectors, dim)  # type: ignore[no-untyped-call]
    return output


def scaled_to_one(vectors: Tensor, *dim: int) -> Tensor:
    """Vectors along `dim` divided by their largest magnitude, a constant to the gradient; zero vectors stay zero.

    For vectors that are normalised next, such as products and powers of features: their squares may overflow float32,
    and their length be below `MIN_NORM` although the features' is not.
    """
    largest = vectors.detach().abs().amax(dim, keepdim=True)
    return vectors * torch.where(largest > 0, 1 / largest.clamp_min(torch.finfo(vectors.dtype).tiny), 0)


def in_memory_order(maps: Tensor) -> Tensor:
    """(N, ...) as (N, -1) in memory order, without a copy also for channels_last maps.

    For sums in which the order of elements does not matter; equal for two tensors of the same memory format.
    """
    if maps.ndim == 4 and maps.is_contiguous(memory_format=torch.channels_last):
        maps = maps.permute(0, 2, 3, 1)
    return maps.flatten(1)


def gram(vectors: Tensor) -> Tensor:
    """Inner products (b, b) of the rows of (b, D)."""
    return vectors @ vectors.T


def cosines(vectors: Tensor) -> Tensor:
    """Cosines (b, b) between the rows of (b, D), from their Gram matrix; zero for zero rows."""
    products = gram(vectors)
    inverse = inverse_norm(products.diagonal())
    return products * inverse[:, None] * inverse[None, :]


def mean_square(x: Tensor) -> Tensor:
    """mean x^2, with a gradient in x's memory format.

    That of `mean` and of `mse_loss` is always contiguous, which slows all that follows for channels_last maps.
    """
    return x.square().sum() / x.numel()


class _AbsoluteSum(torch.autograd.Function):
    """sum |a - b| in four passes forward and backward, instead of seven with `l1_loss`."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        difference = a - b
        value = difference.abs().sum()
        ctx.save_for_backward(difference.sgn_())
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (signs,) = ctx.saved_tensors
        of_a, of_b = ctx.needs_input_grad
        return signs * upstream if of_a else None, signs * -upstream if of_b else None


def mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """mean |a - b| of tensors of one shape, with gradients in the memory format of a - b: see `mean_square`."""
    output: Tensor = _AbsoluteSum.apply(a, b)  # type: ignore[no-untyped-call]
    return output / a.numel()


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, *inputs_and_gradients: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs_and_gradients[len(inputs_and_gradients) // 2 :])
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        return (None, *(upstream * g for g in gradients), *(None for _ in gradients))


def with_gradient(value: Tensor, gradients: Mapping[Tensor, Tensor]) -> Tensor:
    """The scalar `value` as a function of the keys of `gradients`, whose gradients are the dict's values.

    For values whose gradient is best computed in the same pass: sums over blocks too large to keep, or long formulas
    over large maps, where allocating the intermediates costs more than the arithmetic.
    """
    output: Tensor = _WithGradient.apply(  # type: ignore[no-untyped-call]
        value, *gradients.keys(), *gradients.values()
    )
    return output
