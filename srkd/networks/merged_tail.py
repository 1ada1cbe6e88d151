"""EDSR's last two convolutions trained as one.

Only a pixel shuffle separates them, so away from the border they are one 5x5 convolution before the shuffle, with 44 %
of the multiply-adds for 16 channels and x2, and 3 channels are shuffled instead of `num_feat`. The two are composed in
every step, by products of their weights; what is trained and saved are the two.

The second convolution pads with zeros where the 5x5 convolution sees values of the first outside the image. These
depend on the image's outermost rows and columns only, so four convolutions along these, of 5 taps each, subtract what
they contribute. A corner outside is subtracted with its row and with its column, so it is added once.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from srkd.networks.tail import Kernel, before_shuffle

_ENDS = ((0, 2), (2, 0))  # at the first and at the last row: the taps of the second and of the first that reach outside


def merged_tail(x: Tensor, first: Kernel, last: Kernel, factor: int) -> Tensor:
    """`first`, a pixel shuffle of this factor and `last`, both convolutions 3x3 with zero padding, for training.

    (N, C, H, W) to (N, out, factor H, factor W) in channels_last layout and `x`'s dtype, to which the composed
    weights are rounded. Gradients can be taken once, not twice.
    """
    with torch.autocast(x.device.type, enabled=False):
        taps, biases = (each.to(x.dtype) for each in _composed(first, before_shuffle(last, factor)))
        cells: Tensor = _Convolution.apply(x, taps, biases)  # type: ignore[no-untyped-call]
    n, _, height, width = cells.shape
    parts = cells.permute(0, 2, 3, 1).view(n, height, width, factor, -1)
    pixels = torch.stack(parts.unbind(3), 2)  # the backward pass of a transposed copy would take twice as long
    return pixels.reshape(n, height * factor, width * factor, -1).permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    """The 5x5 convolution and what the border adds, for all taps and biases of `_composed`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, biases: Tensor) -> Tensor:
        ctx.save_for_backward(x, taps, biases)
        cells = functional.conv2d(x, _square(taps), biases[:, 0], padding=2)
        _add_to_edges(cells, *_additions(_rows(x), _columns(x), taps, biases))
        return cells

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, taps, biases = ctx.saved_tensors
        upstream = upstream.to(memory_format=torch.channels_last)
        arguments = (upstream, x, _square(taps), [len(taps)], [1, 1], [2, 2], [1, 1], False, [0, 0], 1)
        of_x, of_square, of_bias = torch.ops.aten.convolution_backward(*arguments, [True, True, True])
        inputs = [each.detach().requires_grad_() for each in (_rows(x), _columns(x), taps, biases)]
        with torch.enable_grad():
            additions = _additions(*inputs)
        gradients = torch.autograd.grad(additions, inputs, (_rows(upstream), _columns(upstream)))
        rows, columns, of_taps, of_biases = gradients
        _add_to_edges(of_x, rows, columns)
        of_taps[..., :25] += of_square.flatten(2)
        of_biases[:, 0] += of_bias
        return of_x, of_taps, of_biases


def _square(taps: Tensor) -> Tensor:
    square: Tensor = taps[..., :25].unflatten(-1, (5, 5))
    return square


def _rows(x: Tensor) -> Tensor:
    """The first and the last row, (2, N, W, C)."""
    return torch.stack([x[:, :, 0], x[:, :, -1]]).transpose(2, 3)


def _columns(x: Tensor) -> Tensor:
    """The first and the last column, (2, N, H, C)."""
    return _rows(x.transpose(2, 3))


def _add_to_edges(x: Tensor, rows: Tensor, columns: Tensor) -> None:
    for end in (0, -1):
        x[:, :, end].add_(rows[end].transpose(1, 2))
        x[..., end].add_(columns[end].transpose(1, 2))


def _additions(rows: Tensor, columns: Tensor, taps: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
    """What the first and the last row and column of the output differ by from the 5x5 convolution."""
    to_rows = _along(rows, taps[..., 25:35], biases[:, 1:3])
    to_columns = _along(columns, taps[..., 35:45], biases[:, 3:5])
    corners = torch.stack([rows[:, :, 0], rows[:, :, -1]], 1).flatten(0, 1)  # (4, N, C)
    to_corners = torch.baddbmm(biases[:, 5:].t()[:, None], corners, taps[..., 45:].permute(2, 1, 0)).unflatten(
        0, (2, 2)
    )
    for end in (0, -1):
        to_rows[:, :, end] += to_corners[:, end]
    return to_rows, to_columns


def _along(lines: Tensor, taps: Tensor, biases: Tensor) -> Tensor:
    """Two lines, (2, N, L, in), each convolved with five of the taps (out, in, 10) and one of the biases (out, 2)."""
    windows = functional.pad(lines, (0, 0, 2, 2)).unfold(2, 5, 1).flatten(3).flatten(1, 2)
    matrices = taps.unflatten(-1, (2, 5)).permute(2, 1, 3, 0).flatten(1, 2)
    return torch.baddbmm(biases.t()[:, None], windows, matrices).view(*lines.shape[:3], -1)


def _composed(first: Kernel, second: Kernel) -> Kernel:
    """All taps and biases: (out, in, 25 of the 5x5 kernel, 5 of each side's, 1 of each corner's), (out, 1 + 4 + 4)."""
    (inner, inner_bias), (outer, outer_bias) = first, second
    out, into = len(outer), inner.shape[1]
    outer = outer.flatten(2).transpose(1, 2)  # (out, 9, channels between)
    products = (outer.flatten(0, 1) @ inner.flatten(1)).view(out, 9, into, 9).transpose(1, 2)
    biases = (outer @ inner_bias) @ _BIASES.to(outer)
    return products.flatten(2) @ _TAPS.to(outer), biases + functional.pad(outer_bias[:, None], (0, 8))


def _sums() -> Kernel:
    """Which products of two taps each tap of `_composed` is the sum of, (81, 49), and the same for biases, (9, 9)."""
    taps, biases = torch.zeros(3, 3, 3, 3, 49), torch.zeros(3, 3, 9)
    biases[..., 0] = 1
    for u, v, p, q in itertools.product(range(3), repeat=4):
        taps[u, v, p, q, 5 * (u + p) + v + q] = 1
        for end, outside in enumerate(_ENDS):
            if (u, p) == outside:
                taps[u, v, p, q, 25 + 5 * end + v + q] = biases[u, v, 1 + end] = -1
            if (v, q) == outside:
                taps[u, v, p, q, 35 + 5 * end + u + p] = biases[u, v, 3 + end] = -1
            for other, beside in enumerate(_ENDS):
                if (u, p) == outside and (v, q) == beside:
                    corner = 2 * end + other
                    taps[u, v, p, q, 45 + corner] = biases[u, v, 5 + corner] = 1
    return taps.flatten(2, 3).flatten(0, 2), biases.flatten(0, 1)


with torch.inference_mode(False):  # whoever imports this first may be in it
    _TAPS, _BIASES = _sums()
