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
    weights, computed in float32 or float64, are rounded. Gradients can be taken once, not twice.
    """
    with torch.autocast(x.device.type, enabled=False):
        composed = _composed(_at_least_fp32(first), _at_least_fp32(before_shuffle(last, factor)))
        taps, biases = (each.to(x.dtype) for each in composed)
        cells: Tensor = _Convolution.apply(x, taps, biases)  # type: ignore[no-untyped-call]
    n, _, height, width = cells.shape
    parts = cells.permute(0, 2, 3, 1).view(n, height, width, factor, -1)
    pixels = torch.stack(parts.unbind(3), 2)  # the backward pass of a transposed copy would take twice as long
    return pixels.reshape(n, height * factor, width * factor, -1).permute(0, 3, 1, 2)


def _at_least_fp32(kernel: Kernel) -> Kernel:
    """Branches (`srkd.networks.reparameterise`) give kernels in autocast's data type."""
    weight, bias = (each.to(torch.promote_types(each.dtype, torch.float32)) for each in kernel)
    return weight, bias


class _Convolution(torch.autograd.Function):
    """The 5x5 convolution and what the border adds, for all taps and biases of `_composed`.

    The border's gradients are written out: autograd would take several times as many operations, all of them small.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, biases: Tensor) -> Tensor:
        cells = functional.conv2d(x, _square(taps), biases[:, 0], padding=2)
        border, width = _border(x), x.shape[3]
        windows, corners = _windows(border), _corners(border, width)
        sides = torch.baddbmm(biases[:, 1:5].t()[:, None], windows, _side_taps(taps)).unflatten(1, border.shape[1:3])
        _add_to_corners(sides, torch.baddbmm(biases[:, 5:].t()[:, None], corners, _corner_taps(taps)), width)
        _add_to_border(cells, sides)
        ctx.save_for_backward(x, taps, windows, corners)
        return cells

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, taps, windows, corners = ctx.saved_tensors
        (out, into), width = taps.shape[:2], x.shape[3]
        upstream = upstream.contiguous(memory_format=torch.channels_last)
        arguments = (upstream, x, _square(taps), [out], [1, 1], [2, 2], [1, 1], False, [0, 0], 1)
        of_x, of_square, of_bias = torch.ops.aten.convolution_backward(*arguments, [True, True, True])
        border = _border(upstream)
        sides, ends = border.flatten(1, 2), _corners(border, width)
        turned = _side_taps(taps).unflatten(1, (5, into)).flip(1).transpose(2, 3).flatten(1, 2)
        of_border = torch.bmm(_windows(border), turned).unflatten(1, border.shape[1:3])
        _add_to_corners(of_border, torch.bmm(ends, _corner_taps(taps).transpose(1, 2)), width)
        _add_to_border(of_x, of_border)
        of_sides = torch.bmm(windows.transpose(1, 2), sides).unflatten(1, (5, into)).permute(3, 2, 0, 1)
        of_corners = torch.bmm(corners.transpose(1, 2), ends).permute(2, 1, 0)
        of_taps = torch.cat([of_square.flatten(2), of_sides.flatten(2), of_corners], 2)
        of_biases = torch.cat([of_bias[None], sides.sum(1), ends.sum(1)]).t()
        return of_x, of_taps, of_biases


def _square(taps: Tensor) -> Tensor:
    square: Tensor = taps[..., :25].unflatten(-1, (5, 5))
    return square


def _side_taps(taps: Tensor) -> Tensor:
    """(4, 5 in, out): what multiplies the windows of each line of `_border`."""
    matrices: Tensor = taps[..., 25:45].unflatten(-1, (4, 5)).permute(2, 3, 1, 0).flatten(1, 2)
    return matrices


def _corner_taps(taps: Tensor) -> Tensor:
    """(4, in, out), in the order of `_corners`."""
    return taps[..., 45:].permute(2, 1, 0)


def _border(x: Tensor) -> Tensor:
    """First and last row, first and last column: (4, N, L, C), L the longer side; zeros end the shorter lines."""
    x = x.permute(0, 2, 3, 1)
    lines = [x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]]
    longest = max(x.shape[1:3])
    return torch.stack([functional.pad(each, (0, 0, 0, longest - each.shape[1])) for each in lines])


def _windows(lines: Tensor) -> Tensor:
    """(4, N, L, C) to (4, N L, 5 C): the five pixels around each, with zeros beyond the ends."""
    windows = functional.pad(lines, (0, 0, 2, 2)).unfold(2, 5, 1)
    return windows.transpose(3, 4).reshape(4, lines.shape[1] * lines.shape[2], -1)


def _corners(lines: Tensor, width: int) -> Tensor:
    """(4, N, C): the ends of the first row, then those of the last one."""
    return torch.stack([lines[end, :, column] for end in (0, 1) for column in (0, width - 1)])


def _add_to_corners(lines: Tensor, corners: Tensor, width: int) -> None:
    lines[:2, :, 0] += corners[::2]
    lines[:2, :, width - 1] += corners[1::2]


def _add_to_border(x: Tensor, lines: Tensor) -> None:
    x = x.permute(0, 2, 3, 1)
    for line, end in enumerate((0, -1)):
        x[:, end] += lines[line, :, : x.shape[2]]
        x[:, :, end] += lines[2 + line, :, : x.shape[1]]


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
