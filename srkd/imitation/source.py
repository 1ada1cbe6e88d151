"""Training batches from a bank: crops of its patches, flipped and rotated, with the teacher's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from srkd.data.patches import Patches, check_bank, codes, generator, turned
from srkd.errors import SrkdError

_CROP, _ORDER = 4, 5  # streams of the random generator


class ImitationSource:
    """Batches of `lr` and `teacher_output`, and `hr` (the ground truth) if asked for; each patch once an epoch.

    Args:
        shards: a bank's, of `srkd.imitation.bank.Bank.open`.
        count: the number of its patches that are used.
        patches: crops of `gt_size` at the student's scale; outputs at a multiple of it are shrunk by area.
        hr: the ground truth of patch number n, at the teacher's scale; None: batches have none.

    Raises:
        SrkdError: fewer patches than a batch, or crops larger than the bank's patches.
    """

    def __init__(
        self,
        shards: Sequence[np.ndarray],
        count: int,
        patches: Patches,
        hr: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        self.shards, self.count, self.patches, self.ground_truth = shards, count, patches, hr
        self.side = patches.gt_size // patches.scale
        self._shard_length, self._patch_side = len(shards[0]), shards[0]["lr"].shape[1]
        self.teacher_scale = shards[0]["output"].shape[1] // self._patch_side
        check_bank(count, patches.batch)
        if self.side > self._patch_side:
            raise SrkdError(
                f"gt_size {patches.gt_size} needs LR patches of {self.side}, but the bank's are {self._patch_side} "
                "(bank.lr_size)"
            )

    def draw(self, number: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """Arrays of this process's share of global batch `number`."""
        size, seed = self.patches.batch, self.patches.seed
        epoch, place = divmod(number, self.count // size)
        order = generator(seed, _ORDER, epoch).permutation(self.count)[place * size : (place + 1) * size]
        rng = generator(seed, _CROP, number)
        corners = (rng.random((size, 2)) * (self._patch_side - self.side + 1)).astype(int)
        turns = codes(rng, size, self.patches.hflip, self.patches.rot)
        rows = [self._row(int(order[k]), corners[k], int(turns[k])) for k in range(rank, size, world)]
        batch: dict[str, Any] = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return {**batch, "index": order[rank::world]}

    def _row(self, number: int, corner: np.ndarray, turn: int) -> dict[str, np.ndarray]:
        shard, row = divmod(number, self._shard_length)
        patch = self.shards[shard][row]
        found = {"lr": _cut(patch["lr"], corner, self.side, turn)}
        found["teacher_output"] = self._hr_side(patch["output"], corner, turn)
        if self.ground_truth is not None:
            found["hr"] = self._hr_side(self.ground_truth(number), corner, turn)
        return found

    def _hr_side(self, image: np.ndarray, corner: np.ndarray, turn: int) -> np.ndarray:
        """The crop of an image at the teacher's scale, at the student's."""
        cut = _cut(image, corner * self.teacher_scale, self.side * self.teacher_scale, turn)
        return shrunk(cut, self.teacher_scale // self.patches.scale)


def _cut(image: np.ndarray, corner: np.ndarray, side: int, turn: int) -> np.ndarray:
    y, x = corner
    return turned(image[y : y + side, x : x + side], turn)


def shrunk(image: np.ndarray, factor: int) -> np.ndarray:
    """uint8 (H, W, 3) to (H / factor, W / factor, 3): means of cells, rounded."""
    if factor == 1:
        return image
    size = (image.shape[1] // factor, image.shape[0] // factor)
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA))
