"""What losses on relations between instances share: the selection of instances."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from srkd.losses.align import as_maps, match_size
from srkd.losses.base import Loss, choice, integer
from srkd.losses.numeric import in_memory_order


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
        output: Tensor = windows.permute(0, 2, 4, 3, 5, 1).reshape(count * down * across, -1)
        return output

    def _select(self, count: int, device: torch.device) -> Tensor | None:
        return None if count <= self.samples else torch.randperm(count)[: self.samples].to(device)


def pooled(maps: Tensor) -> Tensor:
    """(N, C, H, W) averaged over positions; vectors (N, C) unchanged."""
    return maps.flatten(2).mean(2) if maps.ndim == 4 else maps
