"""The distribution of a layer's channels over positions (NST)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from srkd.losses.align import as_maps, match_size
from srkd.losses.base import Loss
from srkd.losses.numeric import inverse_norm
from srkd.losses.registry import register


@register("nst")
class NeuronSelectivity(Loss):
    """MMD^2 between channels: mean k(t, t') + mean k(s, s') - 2 mean k(s, t), k(x, y) = (x . y)^2, mean over samples.

    x and y are channel maps, L2-normalised over positions; the means run over all pairs of channels of one sample.

    Shapes: maps (N, C, H, W) of any channels, any range; maps of different size are average-pooled to the smaller.
    Default weight: SR 10; classification 50. Cost: (C_s + C_t)^2 N H W multiply-adds through Gram matrices, memory
    N (C_s + C_t)^2 in addition to the maps: the pairs of channel maps are not materialised.
    Source: Huang and Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017
    (arXiv:1707.01219).
    """

    shapes: ClassVar[str] = "maps"
    zero_at_equal = True

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        s, t = (m.flatten(2) for m in match_size(as_maps(student), as_maps(teacher)))
        inner_s, inner_t, across = s @ s.transpose(1, 2), t @ t.transpose(1, 2), s @ t.transpose(1, 2)
        scale_s, scale_t = (inverse_norm(g.diagonal(dim1=1, dim2=2)) for g in (inner_s, inner_t))
        return (
            _mean_kernel(inner_t, scale_t, scale_t)
            + _mean_kernel(inner_s, scale_s, scale_s)
            - 2 * _mean_kernel(across, scale_s, scale_t)
        )


def _mean_kernel(products: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return (products * rows[:, :, None] * columns[:, None, :]).square().mean()
