"""Correlations within a network and between networks, learned by attention, as distillation targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from srkd.losses.align import as_maps, factory_kwargs
from srkd.losses.base import Example, Loss, integer, positive, unprepared
from srkd.losses.registry import register


class LayerTokens(nn.Module):
    """Tokens of all layers: their positions' vectors, projected to one width, plus a layer embedding."""

    def __init__(self, channels: Sequence[int], dim: int, **factory: Any) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(c, dim, **factory) for c in channels)
        self.layer = nn.Parameter(torch.randn(len(channels), dim, **factory) * 0.02)

    def forward(self, vectors: Sequence[Tensor]) -> Tensor:
        parts = [p(x) + e for p, x, e in zip(self.project, vectors, self.layer, strict=True)]
        return torch.cat(parts, 1)


class CorrelationEncoder(nn.Module):
    """Cross-attention, then a two-layer perceptron with a residual connection; a LayerNorm after each.

    The attention has no residual connection, so the output depends on the memory only through its correlation with the
    queries.
    """

    def __init__(self, dim: int, heads: int, **factory: Any) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False, **factory) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(dim, dim, **factory), nn.GELU(), nn.Linear(dim, dim, **factory))
        self.norm1, self.norm2 = nn.LayerNorm(dim, **factory), nn.LayerNorm(dim, **factory)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f, x in ((self.query, queries), (self.key, memory), (self.value, memory))
        )
        # Not F.scaled_dot_product_attention, whose kernels lack float64 gradients on some devices.
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        mixed = self.norm1((weights @ v).transpose(1, 2).flatten(2))
        output: Tensor = self.norm2(mixed + self.mlp(mixed))
        return output


@register("iekd")
class InternalExternal(Loss):
    """matching M + internal I + external X + R, of tokens: the positions of each map, pooled to size x size.

    Positions are LayerNorm-ed over channels, z_s and z_t, and projected to `dim` with a layer embedding, s and t. An
    encoder A(queries, memory) attends over the tokens of all layers. M = mean (P z_s - z_t)^2, P a learned map per
    layer, summed over layers. I = mean (A(s, s) - A(t, t))^2: correlations within each network. X = mean (A(s, t) -
    A(t, t))^2: the student's tokens must attend to the teacher's as the teacher's own do. R = mean (D A(t, t) - z_t)^2
    summed over layers, D a learned map per layer: the encoder, t's projection and D are trained by R alone, so that the
    detached targets A(t, t) cannot collapse; the student's projections are trained by the other terms.

    The implementation follows the paper's abstract only (a transformer computes maps from correlations within a network
    and between networks, used for feature matching) and may differ from the published loss; pooling, width and R are
    this project's choices.

    Shapes: lists of maps (N, C, H, W) of any channels and sizes, any range; the same number of layers per side. Default
    weight: classification 3.0; SR 0.1 (positions have unit scale, independent of the maps' scale). Cost: with L layers,
    n = L size^2 tokens per image: 15 n dim^2 + 6 n^2 dim multiply-adds forward; 128 images of 3 layers take 1.7 G;
    memory 3 N heads n^2.
    Source: the abstract of "Knowledge Distillation based-on Internal/External Correlation Learning" (IEKD); related:
    Bak and Bae, "Bridging the Knowledge Gap via Transformer-Based Multi-Layer Correlation Learning", IEEE Access 2024.
    """

    layers: ClassVar[str] = "list"
    shapes: ClassVar[str] = "maps"
    keeps_autocast: ClassVar[bool] = True

    def __init__(
        self,
        internal: float = 1.0,
        external: float = 1.0,
        matching: float = 1.0,
        size: int = 4,
        dim: int = 128,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.weights = {
            "internal": positive("internal", internal, zero=True),
            "external": positive("external", external, zero=True),
            "matching": positive("matching", matching, zero=True),
            "rebuilding": 1.0,
        }
        if not internal and not external and not matching:
            raise ValueError("internal, external and matching are all 0: no term is left")
        self.size, self.dim, self.heads = integer("size", size), integer("dim", dim), integer("heads", heads)
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got {dim} and {heads}")
        self.encoder: CorrelationEncoder | None = None

    def fit(self, student: Sequence[Tensor], teacher: Sequence[Tensor], **context: Any) -> None:
        factory = factory_kwargs(teacher[0])
        student_channels, teacher_channels = [m.shape[1] for m in student], [m.shape[1] for m in teacher]
        self.encoder = CorrelationEncoder(self.dim, self.heads, **factory)
        self.ours, self.theirs = (
            LayerTokens(student_channels, self.dim, **factory),
            LayerTokens(teacher_channels, self.dim, **factory),
        )
        self.match = nn.ModuleList(
            nn.Linear(s, t, **factory) for s, t in zip(student_channels, teacher_channels, strict=True)
        )
        self.rebuild = nn.ModuleList(nn.Linear(self.dim, t, **factory) for t in teacher_channels)

    def forward(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], target: Tensor | None = None, **context: Any
    ) -> Tensor:
        values = self.parts(student, teacher)
        return torch.stack([self.weights[name] * value for name, value in values.items()]).sum()

    def parts(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> dict[str, Tensor]:
        """The unweighted `matching`, `internal`, `external` and `rebuilding`."""
        if self.encoder is None:
            raise unprepared(self, "encoder and its projections")
        pairs = [self.positions(ours, theirs) for ours, theirs in zip(student, teacher, strict=True)]
        z_s, z_t = [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
        s, t = self.ours(z_s), self.theirs(z_t)
        encoded = self.encoder(t, t)
        per_layer = encoded.split([z.shape[1] for z in z_t], 1)
        # The encoder is fixed here: trained by the student's terms it could collapse to a constant.
        fixed = {name: parameter.detach() for name, parameter in self.encoder.named_parameters()}
        frozen, memory = encoded.detach(), t.detach()
        return {
            "matching": _sum(F.mse_loss(p(x), y) for p, x, y in zip(self.match, z_s, z_t, strict=True)),
            "internal": F.mse_loss(functional_call(self.encoder, fixed, (s, s)), frozen),
            "external": F.mse_loss(functional_call(self.encoder, fixed, (s, memory)), frozen),
            "rebuilding": _sum(F.mse_loss(d(x), y) for d, x, y in zip(self.rebuild, per_layer, z_t, strict=True)),
        }

    def positions(self, *maps: Tensor) -> list[Tensor]:
        """Maps (N, C, H, W) or vectors (N, C) as (N, positions, C), each position normalised over its channels; pooled
        to `size` x `size`, or to the smallest map if that is smaller."""
        maps = tuple(map(as_maps, maps))
        height, width = (min(self.size, *(m.shape[side] for m in maps)) for side in (2, 3))
        pooled = [F.adaptive_avg_pool2d(m, (height, width)).flatten(2).transpose(1, 2) for m in maps]
        return [F.layer_norm(vectors, vectors.shape[-1:]) for vectors in pooled]

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        shapes = ((4, 6, 8, 8), (4, 8, 4, 4))
        student, teacher = ([torch.randn(shape, generator=rng) for shape in shapes] for _ in range(2))
        return Example(student, teacher, options={"dim": 16, "heads": 2, "size": 2})


def _sum(values: Any) -> Tensor:
    return torch.stack(list(values)).sum()
