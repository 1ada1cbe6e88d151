"""A bank: degraded patches with a teacher's outputs, computed once and kept in the cache folder.

A bank is a folder: `bank.json` describes what determines its content, and `patches-00000.npy` and so on contain
`SHARD` patches each. Files appear only when complete, in order; a killed build continues with the next one. Since
patches are in random order, the first n of a bank are a bank of n patches, and a larger one extends it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from srkd.data.degraded import DegradedPatches
from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path, printable_path, write_json
from srkd.files.cache import cache_place, own_place, trusted_inside
from srkd.files.lock import locked
from srkd.imitation.teachers import OutputTeacher
from srkd.inference.speed import SpeedMeter
from srkd.sr.teacher_cache import key
from srkd.training.task import OutOfTimeError

SHARD = 100
_VERSION = 1
_INDEX = "bank.json"
Update = Callable[[int, str], None]


@dataclass(frozen=True)
class Bank:
    """The first `count` patches of a bank, which need not be built yet.

    Args:
        fingerprint: that of the images that the patches are cut from.
        parent: folder of banks; None: the user's cache folder.
        max_bytes: limit on the size of the bank.
    """

    patches: DegradedPatches
    teacher: OutputTeacher
    fingerprint: str
    count: int
    parent: Path | None = None
    max_bytes: float = 8e9

    @cached_property
    def description(self) -> dict[str, Any]:
        """What determines the content: teacher, images, degradations, sizes and seed; not the number of patches."""
        plan: dict[str, Any] = json.loads(json.dumps(self.patches.plan.describe()))  # tuples become lists
        return {"version": _VERSION, "teacher": self.teacher.digest, "images": self.fingerprint, "plan": plan}

    @cached_property
    def folder(self) -> Path:
        name = f"imitation-{key(**self.description)}"
        return own_place(self.parent / name) if self.parent else cache_place("teachers", name)

    @property
    def dtype(self) -> np.dtype[Any]:
        """A patch: `lr` (n, n, 3) and the teacher's `output` (scale n, scale n, 3), uint8."""
        side, scale = self.patches.plan.lr_size, self.patches.plan.scale
        return np.dtype([("lr", np.uint8, (side, side, 3)), ("output", np.uint8, (scale * side, scale * side, 3))])

    @property
    def bytes(self) -> int:
        """Size of all its files, without their headers."""
        return len(self._shards) * SHARD * self.dtype.itemsize

    @property
    def _shards(self) -> range:
        return range(-(-self.count // SHARD))

    def _file(self, number: int) -> Path:
        return self.folder / f"patches-{number:05d}.npy"

    def _shard(self, number: int) -> np.ndarray | None:
        """Shard `number`, memory-mapped; None if it is not there or not a whole shard of this bank."""
        with suppress(OSError, ValueError):
            found: np.ndarray = np.load(self._file(number), mmap_mode="r")
            if found.dtype == self.dtype and found.shape == (SHARD,):
                return found
        return None

    def missing(self) -> list[int]:
        """Numbers of the files that are to be built. A folder that another user can write to is not used."""
        usable = self.folder.is_dir() and trusted_inside(self.folder)
        return [number for number in self._shards if not usable or self._shard(number) is None]

    def check(self) -> None:
        """Raise SrkdError if the bank would exceed `max_bytes`, or its folder contains another bank."""
        if self.bytes > self.max_bytes:
            raise SrkdError(
                f"a bank of {self.count:,} patches would take {self.bytes / 1e9:.2f} GB, more than bank.max_bytes "
                f"({self.max_bytes / 1e9:.2f} GB); raise that, or use fewer or smaller patches"
            )
        index = self.folder / _INDEX
        if not index.exists():
            return
        try:
            found = json.loads(index.read_bytes())
            different = [name for name, value in self.description.items() if found.get(name) != value]
        except (OSError, ValueError, AttributeError) as error:
            raise SrkdError(f"{printable_path(index)}: damaged ({error}); remove its folder") from error
        if different:
            raise SrkdError(
                f"{printable_path(self.folder)} is a bank with another {' and '.join(different)}; remove it, or set "
                "bank.dir to another folder"
            )

    def cost(self) -> str:
        """One line about the size of the bank and how long it takes, measured on the first two patches."""
        missing = len(self.missing()) * SHARD
        side, there = self.patches.plan.lr_size, max(self.count - missing, 0)
        seconds = self._seconds_per_patch() if missing else 0.0
        duration = f"{missing * seconds / 60:.0f} minutes ({seconds:.2f} s a patch by {self.teacher.runtime})"
        return (
            f"bank of {self.count:,} patches of {side}x{side} with the outputs of {self.teacher.name}: "
            f"{self.bytes / 1e6:,.0f} MB in {printable_path(self.folder)}; {there:,} patches are there"
            + (f", the others take about {duration}" if missing else "")
        )

    def _seconds_per_patch(self) -> float:
        self.rows(0, 1)  # the runtime's start
        return SpeedMeter().once(lambda: self.rows(1, 2))

    def rows(self, start: int, end: int) -> np.ndarray:
        """Patches `start` to `end`, computed."""
        rows = np.empty(end - start, self.dtype)
        for row, number in enumerate(range(start, end)):
            lr = self.patches.draw(number)
            rows[row] = (lr, self.teacher(lr[None])[0])
        return rows

    def build(self, update: Update = lambda done, what: None, deadline: float | None = None) -> None:
        """Compute and write the missing files.

        Args:
            update: called after each file with the number of patches that are there.
            deadline: on `time.monotonic()`'s clock; checked before each file.

        Raises:
            SrkdError: as `check`; the teacher fails; the folder cannot be written, or the disk is full.
            OutOfTimeError: the deadline has passed.
        """
        if not self.missing():
            return
        with locked(self.folder):  # another process may be building it
            self.check()
            if not (self.folder / _INDEX).exists():
                write_json(self.folder / _INDEX, self.description)
            for number in self.missing():
                if deadline is not None and time.monotonic() > deadline:
                    done = min(number * SHARD, self.count)
                    raise OutOfTimeError(f"stopped with {done:,} of {self.count:,} patches; run again to continue")
                rows = self.rows(number * SHARD, (number + 1) * SHARD)
                with atomic_path(self._file(number)) as temporary:
                    np.save(temporary, rows)
                update(min((number + 1) * SHARD, self.count), "patches")

    def open(self) -> list[np.ndarray]:
        """The files, memory-mapped, each (SHARD,) of `dtype`.

        Raises:
            SrkdError: the bank is not complete.
        """
        found = [shard for number in self._shards if (shard := self._shard(number)) is not None]
        if len(found) < len(self._shards):
            raise SrkdError(f"{printable_path(self.folder)}: {len(self._shards) - len(found)} files are missing")
        return found
