"""Training patches: cropped, flipped and rotated in the main process from memory-mapped uint8 images.

A batch depends only on the seed and its number (a counter-based generator), so no sampler state is saved, a resumed
run sees the same batches as an uninterrupted one, and several processes share one batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from srkd.errors import SrkdError
from srkd.images.levels import from_levels

Arrays = dict[str, np.ndarray]


class PairedImages(Protocol):
    """HR and LR images, uint8 RGB (H, W, 3); HR sides are the scale times LR's."""

    def __len__(self) -> int: ...
    def hr(self, number: int) -> np.ndarray: ...
    def lr(self, number: int) -> np.ndarray: ...
    def name(self, number: int) -> str: ...


class BatchSource(Protocol):
    """A source of training batches."""

    def draw(self, number: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """Arrays of this process's share of global batch `number`: `lr`, `hr`, `index` and teacher outputs."""


@dataclass(frozen=True)
class Patches:
    """How patches are cropped: HR side in pixels, patches per batch (over all processes), augmentations."""

    gt_size: int
    batch: int
    scale: int
    hflip: bool = True
    rot: bool = True
    sampling: str = "picture"
    seed: int = 0


def generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """The random generator of batch `number`: independent for each seed, stream and number, and cheap to create."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, number]))


def turned(patch: np.ndarray, code: int) -> np.ndarray:
    """One of the 8 flips and rotations of (H, W, C): bit 0 left-right, bit 1 top-bottom, bit 2 transposed, in this
    order. A view."""
    if code & 1:
        patch = patch[:, ::-1]
    if code & 2:
        patch = patch[::-1]
    return patch.transpose(1, 0, 2) if code & 4 else patch


def codes(rng: np.random.Generator, count: int, hflip: bool, rot: bool) -> np.ndarray:
    """Random codes for `turned`: left-right flips if `hflip`, top-bottom flips and transposition if `rot`."""
    allowed = (1 if hflip else 0) | (6 if rot else 0)
    return rng.integers(0, 8, count) & allowed


class PatchSource:
    """Random patches of whole images, with the same patches of cached teacher outputs.

    Args:
        images: at least one, none smaller than a patch (see `usable`).
        outputs: teachers' outputs for the same images, (H, W, 3) each, by their key in a batch.
        zoomed: the share of patches from the second half of the images, if these are `srkd.data.upcycled.Upcycled`.
    """

    def __init__(
        self, images: PairedImages, patches: Patches, outputs: Mapping[str, Outputs] = {}, zoomed: float | None = None
    ) -> None:
        if len(images) == 0:
            raise SrkdError("no images to train on")
        self.images, self.patches, self.outputs = images, patches, outputs
        self.side = patches.gt_size // patches.scale
        sizes = np.array([images.lr(i).shape[:2] for i in range(len(images))])
        positions = (sizes[:, 0] - self.side + 1) * (sizes[:, 1] - self.side + 1)
        weights = positions if patches.sampling == "area" else np.ones(len(sizes))
        weights = weights / weights.sum()
        if zoomed is not None:
            weights = 2 * weights * np.repeat([1 - zoomed, zoomed], len(weights) // 2)
        self._edges = np.cumsum(weights)

    def draw(self, number: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        patches, side, scale = self.patches, self.side, self.patches.scale
        rng = generator(patches.seed, 0, number)
        which = np.minimum(np.searchsorted(self._edges, rng.random(patches.batch)), len(self._edges) - 1)
        corners = rng.random((patches.batch, 2))
        turns = codes(rng, patches.batch, patches.hflip, patches.rot)
        mine = range(rank, patches.batch, world)
        size = patches.gt_size
        batch: dict[str, Any] = {
            "lr": np.empty((len(mine), side, side, 3), np.uint8),
            "hr": np.empty((len(mine), size, size, 3), np.uint8),
            "index": which[list(mine)],
        }
        for key, outputs in self.outputs.items():
            batch[key] = np.empty((len(mine), size, size, 3), outputs.dtype)
        for row, k in enumerate(mine):
            image, turn = int(which[k]), int(turns[k])
            lr = self.images.lr(image)
            y, x = (corners[k] * (np.array(lr.shape[:2]) - side + 1)).astype(int)
            batch["lr"][row] = turned(lr[y : y + side, x : x + side], turn)
            window = np.s_[y * scale : y * scale + size, x * scale : x * scale + size]
            batch["hr"][row] = turned(self.images.hr(image)[window], turn)
            for key, outputs in self.outputs.items():
                batch[key][row] = turned(outputs.image(image)[window], turn)
        return batch


class Outputs(Protocol):
    """Cached whole-image outputs of a teacher."""

    dtype: np.dtype[Any]

    def image(self, number: int) -> np.ndarray: ...


class BankSource:
    """Batches from a fixed bank of patches, in a new order each epoch.

    Args:
        bank: arrays with the patches along their first axis, including `lr` and `hr`; a nested mapping for features.
        batch: patches per batch, over all processes.
    """

    def __init__(self, bank: Mapping[str, Any], batch: int, seed: int) -> None:
        self.bank, self.size, self.seed = bank, batch, seed
        self.length = len(bank["lr"])
        check_bank(self.length, batch)

    def draw(self, number: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        epoch_length = self.length // self.size
        epoch, place = divmod(number, epoch_length)
        order = generator(self.seed, 1, epoch).permutation(self.length)
        rows = np.sort(order[place * self.size + rank : (place + 1) * self.size : world])
        return {**_take(self.bank, rows), "index": rows}


def check_bank(patches: int, batch: int) -> None:
    """Raise SrkdError if a bank of so many patches has fewer than a batch."""
    if patches < batch:
        raise SrkdError(f"the bank has {patches} patches, fewer than a batch of {batch}")


def _take(values: Mapping[str, Any], rows: np.ndarray) -> dict[str, Any]:
    return {key: _take(v, rows) if isinstance(v, Mapping) else v[rows] for key, v in values.items()}


def usable(images: PairedImages, gt_size: int, scale: int, skip_small: bool) -> list[int]:
    """Numbers of the images that are at least as large as a patch.

    Raises:
        SrkdError: `gt_size` is not a multiple of the scale; an image is too small and `skip_small` is off, or all are.
    """
    if gt_size % scale:
        raise SrkdError(f"gt_size {gt_size} is not a multiple of the scale {scale}")
    small = [i for i in range(len(images)) if min(images.hr(i).shape[:2]) < gt_size]
    if small and not skip_small:
        height, width = images.hr(small[0]).shape[:2]
        more = f" (and {len(small) - 1} more)" if len(small) > 1 else ""
        raise SrkdError(
            f"{images.name(small[0])}{more} is {width}x{height}, smaller than a patch of {gt_size}; "
            "set gt_size lower, or skip_small: true to leave such images out"
        )
    kept = sorted(set(range(len(images))) - set(small))
    if not kept:
        raise SrkdError(f"no image is as large as a patch of {gt_size} pixels")
    return kept


class Subset:
    """Some of the images, in the order given."""

    def __init__(self, images: PairedImages, numbers: Sequence[int]) -> None:
        self.images, self.numbers = images, list(numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def hr(self, number: int) -> np.ndarray:
        return self.images.hr(self.numbers[number])

    def lr(self, number: int) -> np.ndarray:
        return self.images.lr(self.numbers[number])

    def name(self, number: int) -> str:
        return self.images.name(self.numbers[number])


# Cached outputs are int16: this many steps per unit of an image in [0, 1]. Overshoot to -1.6 and 1.6 fits, and a step
# is about a hundredth of a grey level.
OUTPUT_STEPS = 20000.0


def to_batch(arrays: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Arrays of a `BatchSource` as network inputs: float32 (N, C, H, W) on `device`, channels last, in [0, 1].

    uint8 is divided by 255 and int16, a cached output, by `OUTPUT_STEPS`; float16 features become float32; index arrays
    stay integers.
    """
    return {key: to_batch(v, device) if isinstance(v, Mapping) else _tensor(v, device) for key, v in arrays.items()}


def _tensor(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array).to(device, non_blocking=True)
    if array.ndim < 4:
        return tensor
    tensor = tensor.permute(0, 3, 1, 2)
    if array.dtype == np.uint8:
        return from_levels(tensor)
    return tensor.float() / OUTPUT_STEPS if array.dtype == np.int16 else tensor.float()
