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

from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path, printable_path, write_json
from srkd.files.cache import cache_place, own_place, trusted_inside
from srkd.files.lock import locked
from srkd.imitation.patches import DegradedPatches
from srkd.imitation.teachers import OutputTeacher
from srkd.sr.teacher_cache import key

SHARD = 100
_VERSION = 1
_INDEX = "bank.json"
Report = Callable[[str], None]
Update = Callable[[int, str], None]


class OutOfTimeError(SrkdError):
    """The time for building a bank is used up; what was built is kept, and the next call continues."""


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
        return {
            "version": _VERSION,
            "teacher": self.teacher.digest,
            "images": self.fingerprint,
            "plan": self.patches.plan.describe(),
        }

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
        return self.count * self.dtype.itemsize

    def _file(self, number: int) -> Path:
        return self.folder / f"patches-{number:05d}.npy"

    def _shard(self, number: int) -> np.ndarray | None:
        """Shard `number`, memory-mapped; None if it is not there or damaged."""
        with suppress(OSError, ValueError):
            found: np.ndarray = np.load(self._file(number), mmap_mode="r")
            if found.dtype == self.dtype and found.shape == (SHARD,):
                return found
        return None

    def _missing(self) -> list[int]:
        shards = range(-(-self.count // SHARD))
        usable = self.folder.is_dir() and trusted_inside(self.folder)
        return [number for number in shards if not usable or self._shard(number) is None]

    def check(self) -> str | None:
        """The cost of building what is missing, in one line; None if nothing is.

        Raises:
            SrkdError: the bank would exceed `max_bytes`; its folder is that of another bank.
        """
        if self.bytes > self.max_bytes:
            raise SrkdError(
                f"a bank of {self.count:,} patches would take {self.bytes / 1e9:.2f} GB, more than bank.max_bytes "
                f"({self.max_bytes / 1e9:.2f} GB); raise that, or use fewer or smaller patches"
            )
        self._check_description()
        missing = len(self._missing()) * SHARD
        if not missing:
            return None
        seconds = self._seconds_per_patch()
        return (
            f"bank of {self.count:,} patches of {self.patches.plan.lr_size}x{self.patches.plan.lr_size} with the outputs "
            f"of {self.teacher.name}: {self.bytes / 1e9:.2f} GB in {printable_path(self.folder)}; "
            f"{max(self.count - missing, 0):,} are there, the others take about {_duration(missing * seconds)} "
            f"({seconds:.2f} s a patch by {self.teacher.runtime})"
        )

    def _check_description(self) -> None:
        index = self.folder / _INDEX
        if not index.exists():
            return
        try:
            found = json.loads(index.read_bytes())
        except (OSError, ValueError) as error:
            raise SrkdError(f"{printable_path(index)}: damaged ({error}); remove the folder") from error
        if found != json.loads(json.dumps(self.description)):
            different = [k for k in self.description if found.get(k) != json.loads(json.dumps(self.description[k]))]
            raise SrkdError(
                f"{printable_path(self.folder)}: the bank of another {different[0] if different else 'recipe'}; "
                "remove the folder or set bank.dir to another one"
            )

    def _seconds_per_patch(self) -> float:
        """Measured on one patch, after another one for the runtime's start."""
        self._rows(0, 1)
        start = time.perf_counter()
        self._rows(1, 2)
        return time.perf_counter() - start

    def _rows(self, start: int, end: int) -> np.ndarray:
        rows = np.empty(end - start, self.dtype)
        for row, number in enumerate(range(start, end)):
            lr, _ = self.patches.draw(number)
            rows[row] = (lr, self.teacher(lr[None])[0])
        return rows

    def build(self, update: Update = lambda done, what: None, deadline: float | None = None) -> None:
        """Compute and write the missing files.

        Args:
            update: called with the number of patches that are there.
            deadline: on `time.monotonic()`'s clock; checked before each file.

        Raises:
            SrkdError: as `check`; the folder cannot be written, or the disk is full.
            OutOfTimeError: the deadline has passed.
        """
        if not self._missing():
            return
        with locked(self.folder):
            self._check_description()
            if not (self.folder / _INDEX).exists():
                write_json(self.folder / _INDEX, self.description)
            missing = self._missing()
            for position, number in enumerate(missing):
                done = min(self.count, (number if position == 0 else number) * SHARD)
                if deadline is not None and time.monotonic() > deadline:
                    raise OutOfTimeError(f"the bank has {done:,} of {self.count:,} patches")
                rows = self._rows(number * SHARD, (number + 1) * SHARD)
                with atomic_path(self._file(number)) as temporary:
                    np.save(temporary, rows)
                update(min(self.count, (number + 1) * SHARD), "patches")

    def open(self) -> list[np.ndarray]:
        """The shards, memory-mapped, each (SHARD,) of `dtype`.

        Raises:
            SrkdError: the bank is not complete.
        """
        shards = [self._shard(number) for number in range(-(-self.count // SHARD))]
        found = [shard for shard in shards if shard is not None]
        if len(found) < len(shards):
            raise SrkdError(f"{printable_path(self.folder)}: {len(shards) - len(found)} files of the bank are missing")
        return found


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
