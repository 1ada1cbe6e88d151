"""Relations between instances: similarities, distances and angles are compared instead of the features."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.align import as_maps, match_size
from srkd.losses.base import Loss, choice, integer, positive
from srkd.losses.numeric import gram, in_memory_order, inverse_norm, with_gradient
from srkd.losses.registry import register


class Relation(Loss):
    """Base of losses on the relations between b instances, each a vector.

    Options:
        instances: `image`: the flattened maps of the batch; `pooled`: the same averaged over positions, of size C, as
            classifiers' last features; `patch`: non-overlapping windows of `patch` x `patch` positions (the remainder
            at the right and bottom is dropped); `pixel`: positions, of size C.
        patch: the side of a window, in positions of the smaller map.
        samples: the maximum number of patches or pixels; if there are more, this many are sampled at random, the same
            on both sides, from torch's global CPU generator.
    """

    shapes: ClassVar[str] = "maps"
    min_instances = 2
    max_instances: int | None = None

    def __init__(self, instances: str = "image", patch: int = 8, samples: int = 256) -> None:
        super().__init__()
        self.instances = choice("instances", instances, ("image", "pooled", "patch", "pixel"))
        self.patch, self.samples = (
            integer("patch", patch),
            integer("samples", samples, self.min_instances, self.max_instances),
        )
        if instances in ("patch", "pixel"):
            self.stochastic, self.permutation_invariant = True, False

    def check(self, student: Tensor, teacher: Tensor) -> None:
        super().check(student, teacher)
        whole_images = self.instances in ("image", "pooled")
        height, width = (min(as_maps(side).shape[k] for side in (student, teacher)) for k in (2, 3))
        if whole_images:
            count = len(student)
        elif self.instances == "pixel":
            count = len(student) * height * width
        else:
            count = len(student) * (height // self.patch) * (width // self.patch)
        if count < self.min_instances:
            raise ValueError(
                f"needs at least {self.min_instances} instances, got {count} (instances: {self.instances}) "
                f"from maps of {tuple(student.shape)}"
            )
        if whole_images and self.max_instances is not None and count > self.max_instances:
            raise ValueError(
                f"compares at most {self.max_instances} instances, got a batch of {count}: use a smaller batch"
            )

    def vectors(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """The instances of both sides: (b, D_s) and (b, D_t), the same instance in each row."""
        if self.instances == "pooled":
            return pooled(student), pooled(teacher)
        student, teacher = match_size(as_maps(student), as_maps(teacher))
        if self.instances == "image":
            return in_memory_order(student), in_memory_order(teacher)
        if self.instances == "patch":
            student, teacher = self._patches(student), self._patches(teacher)
            selected = self._select(len(student), student.device)
            return (student, teacher) if selected is None else (student[selected], teacher[selected])
        count, positions = len(student), student.shape[2] * student.shape[3]
        selected = self._select(count * positions, student.device)
        if selected is None:
            selected = torch.arange(count * positions, device=student.device)
        image, position = selected // positions, selected % positions
        return student.flatten(2)[image, :, position], teacher.flatten(2)[image, :, position]

    def pooled_vectors(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """The instances of both sides, (b, C_s) and (b, C_t), with images and patches averaged over their positions."""
        if self.instances in ("image", "pooled"):
            return pooled(student), pooled(teacher)
        ours, theirs = self.vectors(student, teacher)
        if self.instances == "patch":
            ours, theirs = (v.unflatten(1, (self.patch**2, -1)).mean(1) for v in (ours, theirs))
        return ours, theirs

    def _patches(self, maps: Tensor) -> Tensor:
        count, (height, width) = len(maps), maps.shape[2:]
        down, across, side = height // self.patch, width // self.patch, self.patch
        windows = maps[:, :, : down * side, : across * side].unflatten(3, (across, side)).unflatten(2, (down, side))
        return windows.permute(0, 2, 4, 3, 5, 1).reshape(count * down * across, -1)

    def _select(self, count: int, device: torch.device) -> Tensor | None:
        return None if count <= self.samples else torch.randperm(count)[: self.samples].to(device)


def pooled(maps: Tensor) -> Tensor:
    """(N, C, H, W) averaged over positions; vectors (N, C) unchanged."""
    return maps.flatten(2).mean(2) if maps.ndim == 4 else maps


@register("sp")
class SimilarityPreserving(Relation):
    """||rownorm(F_s F_s^T) - rownorm(F_t F_t^T)||_F^2 / b^2: which instances activate a layer similarly.

    Shapes: maps (N, C, H, W) or vectors (N, C) of any channels, any range. Default weight: SR 1000 with patches or
    pixels; classification 3000. Cost: b^2 D multiply-adds per side, memory b^2 and the flattened maps (channels_last
    maps are not copied): 16 images of 64 x 48 x 48 take 0.04 G, 256 pixels of 64 channels 0.004 G.
    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019 (arXiv:1907.09682). RepDistiller:
    distiller_zoo/SP.py, on flattened maps, which is `instances: image`.
    """

    zero_at_equal = True

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        student, teacher = self.vectors(student, teacher)
        return F.mse_loss(_row_unit(gram(student)), _row_unit(gram(teacher)))


def _row_unit(products: Tensor) -> Tensor:
    # Rows are first scaled to a largest entry of 1: squares of entries above 1e19 overflow float32.
    largest = products.detach().abs().amax(1, keepdim=True)
    scaled = products * torch.where(largest > 0, 1 / largest.clamp_min(torch.finfo(products.dtype).tiny), 0)
    return scaled * inverse_norm(scaled.square().sum(1, keepdim=True))


@register("rkd")
class RelationalKD(Relation):
    """distance_weight smoothL1(d_s / mean d_s, d_t / mean d_t) + angle_weight smoothL1(angle_s, angle_t).

    d is the distance between two instances, divided by the mean over the positive ones; angle_ijk the cosine at i
    between the directions to j and to k; the means run over all pairs and all triples, including the diagonal.

    Shapes: maps (N, C, H, W) or vectors (N, C) of any channels, any range; 3 to 256 instances. Default weight: SR 0.1;
    classification 1.0. Cost: distances and angles both come from the Gram matrix, in double precision since
    differences of near-equal products cancel: b^2 D multiply-adds per side, then 15 b^3 operations in blocks of 8 MB;
    16 images are negligible, 256 patches or pixels (`samples`) cost about a 50 K-parameter student's step: use 64.
    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019 (arXiv:1904.05068): weights 25 and 50.
    RepDistiller: distiller_zoo/RKD.py, on a classifier's pooled features, which is `instances: pooled`.
    """

    zero_at_equal = True
    min_instances = 3
    max_instances = 256

    def __init__(
        self,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        instances: str = "image",
        patch: int = 8,
        samples: int = 256,
    ) -> None:
        super().__init__(instances, patch, samples)
        self.distance_weight = positive("distance_weight", distance_weight, zero=True)
        self.angle_weight = positive("angle_weight", angle_weight, zero=True)
        if not distance_weight and not angle_weight:
            raise ValueError("distance_weight and angle_weight are both 0: no term is left")

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        dtype = student.dtype
        student, teacher = self.vectors(student, teacher)
        squares_s, squares_t = squared_distances(student), squared_distances(teacher)
        value = squares_s.new_zeros(())
        if self.distance_weight:
            value = value + self.distance_weight * F.smooth_l1_loss(_relative(squares_s), _relative(squares_t))
        if self.angle_weight:
            value = value + self.angle_weight * angle_difference(squares_s, squares_t)
        return value.to(dtype)


def squared_distances(vectors: Tensor) -> Tensor:
    """|x_i - x_j|^2 (b, b) in double precision; exactly zero where the two agree to one millionth of their length."""
    products = gram(vectors.double())
    lengths = products.diagonal()
    total = lengths[:, None] + lengths[None, :]
    squares = total - 2 * products
    return torch.where(squares > 1e-12 * total, squares, 0)


def _relative(squares: Tensor) -> Tensor:
    distinct = squares > 0
    distances = torch.where(distinct, torch.where(distinct, squares, 1).sqrt(), 0)
    return distances / (distances.sum() / distinct.sum().clamp_min(1)).clamp_min(1e-30)


def angle_difference(squares_s: Tensor, squares_t: Tensor, entries: int = 2**19) -> Tensor:
    """mean over all i, j, k of smoothL1(cos_s - cos_t) at i between j and k, from squared distances (b, b).

    With p = 1 / d the law of cosines gives cos_ijk = (d_ij^2 + d_ik^2 - d_jk^2) p_ij p_ik / 2. The b^3 cosines are
    computed in blocks of `entries`; the gradient is accumulated along with the value.
    """
    b = len(squares_s)
    value, gradient = squares_s.new_zeros(()), torch.zeros_like(squares_s)
    with torch.no_grad():
        inverse_s, inverse_t = inverse_norm(squares_s), inverse_norm(squares_t)
        for i in torch.arange(b).split(max(1, entries // b**2)):
            cos_s, cos_t = _cosines_at(i, squares_s, inverse_s), _cosines_at(i, squares_t, inverse_t)
            value += F.smooth_l1_loss(cos_s, cos_t, reduction="sum")
            if not squares_s.requires_grad:
                continue
            p = inverse_s[i]
            slope = torch.sub(cos_s, cos_t, out=cos_t).clamp_(-1, 1)
            turning = cos_s.mul_(slope).sum(2)
            slope.mul_(p[:, :, None]).mul_(p[:, None, :])
            gradient[i] += slope.sum(2) - p.square() * turning
            gradient -= slope.sum(0) / 2
    return with_gradient(value / b**3, {squares_s: gradient / b**3})


def _cosines_at(i: Tensor, squares: Tensor, inverse: Tensor) -> Tensor:
    sides, p = squares[i], inverse[i]
    cosines = sides[:, :, None] + sides[:, None, :]
    return cosines.sub_(squares).mul_(p[:, :, None]).mul_(p[:, None, :] / 2)
