"""The bank: whole files only, continued after a kill, extended, and never mistaken for another one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from srkd.data.degradations import Levels
from srkd.data.degraded import CropPlan, DegradedPatches
from srkd.errors import SrkdError
from srkd.files.atomic import is_partial
from srkd.imitation.bank import SHARD, Bank
from srkd.imitation.teachers import OutputTeacher
from srkd.training.task import OutOfTimeError
from support import textured


class Images:
    def __len__(self) -> int:
        return 2

    def hr(self, number: int) -> np.ndarray:
        return textured(number, 40, 44)


def nearest(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(2, 1).repeat(2, 2)


def teacher(digest: str = "one", upscale: Callable[[np.ndarray], np.ndarray] = nearest) -> OutputTeacher:
    return OutputTeacher("doubler", 2, digest, lambda: upscale)


PLAN = CropPlan(8, 2, Levels())


def bank(folder: Path, count: int = 250, plan: CropPlan = PLAN, **fields: object) -> Bank:
    made = Bank(DegradedPatches(Images(), plan), teacher(), "photos", count, folder)
    return replace(made, **fields)  # type: ignore[arg-type]


def test_a_bank_contains_the_patches_and_what_the_teacher_makes_of_them(tmp_path: Path) -> None:
    made = bank(tmp_path)
    done: list[int] = []
    made.build(lambda number, what: done.append(number))
    assert done == [100, 200, 250]
    shards = made.open()
    assert [len(shard) for shard in shards] == [SHARD] * 3
    for number in (0, 99, 100, 249):
        row = shards[number // SHARD][number % SHARD]
        np.testing.assert_array_equal(row["lr"], made.patches.draw(number))
        np.testing.assert_array_equal(row["output"], nearest(row["lr"][None])[0])


def test_a_smaller_bank_is_the_start_of_a_larger_one_and_costs_nothing(tmp_path: Path) -> None:
    bank(tmp_path, 250).build()

    def fail(pixels: np.ndarray) -> np.ndarray:
        raise AssertionError("the teacher runs again")

    smaller = bank(tmp_path, 150, teacher=teacher(upscale=fail))
    assert smaller.missing() == []
    smaller.build()
    assert len(smaller.open()) == 2
    larger = bank(tmp_path, 301)
    assert larger.missing() == [3]


def test_a_killed_build_continues_with_the_files_that_are_missing(tmp_path: Path) -> None:
    calls = 0

    def killed(pixels: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls > 130:
            raise KeyboardInterrupt
        return nearest(pixels)

    broken = bank(tmp_path, teacher=teacher(upscale=killed))
    with pytest.raises(KeyboardInterrupt):
        broken.build()
    assert broken.missing() == [1, 2]
    assert not [path for path in broken.folder.iterdir() if is_partial(path)]
    with pytest.raises(SrkdError, match="2 files are missing"):
        broken.open()
    whole = bank(tmp_path)
    whole.build()
    np.testing.assert_array_equal(whole.open()[1][7]["lr"], whole.patches.draw(107))


def test_a_damaged_file_is_built_again(tmp_path: Path) -> None:
    made = bank(tmp_path, 100)
    made.build()
    file = made.folder / "patches-00000.npy"
    file.write_bytes(file.read_bytes()[:-1])
    assert made.missing() == [0]
    made.build()
    np.testing.assert_array_equal(made.open()[0][5]["lr"], made.patches.draw(5))


def test_it_stops_at_the_deadline_and_keeps_what_it_has(tmp_path: Path) -> None:
    made = bank(tmp_path)
    with pytest.raises(OutOfTimeError, match="stopped with 0 of 250 patches; run again to continue"):
        made.build(deadline=time.monotonic() - 1)
    made.build(deadline=time.monotonic() + 600)
    assert made.missing() == []


@pytest.mark.parametrize("what", ["teacher", "images", "degradations", "size", "seed"])
def test_every_difference_makes_another_bank(tmp_path: Path, what: str) -> None:
    others = {
        "teacher": bank(tmp_path, teacher=teacher("another")),
        "images": bank(tmp_path, fingerprint="other photos"),
        "degradations": bank(tmp_path, plan=replace(PLAN, levels=Levels(clean_prob=0.5))),
        "size": bank(tmp_path, plan=replace(PLAN, lr_size=9)),
        "seed": bank(tmp_path, plan=replace(PLAN, seed=1)),
    }
    assert others[what].folder != bank(tmp_path).folder
    assert bank(tmp_path, 10).folder == bank(tmp_path, 20).folder


def test_the_bank_of_another_teacher_is_not_used(tmp_path: Path) -> None:
    made = bank(tmp_path, 100)
    made.build()
    index = made.folder / "bank.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "teacher": "another"}))
    with pytest.raises(SrkdError, match=r"is a bank with another teacher; remove it, or set bank.dir"):
        made.check()
    index.write_text("{")
    with pytest.raises(SrkdError, match=r"bank.json: damaged \(.*\); remove its folder"):
        made.check()


def test_its_cost_is_stated_before_it_is_built(tmp_path: Path) -> None:
    made = bank(tmp_path, 250)
    text = made.cost()
    assert "bank of 250 patches of 8x8 with the outputs of doubler: 0 MB in" in text
    assert "0 patches are there, the others take about 0 minutes" in text and not made.folder.exists()
    made.build()
    assert made.cost().endswith("250 patches are there")
    with pytest.raises(
        SrkdError, match=r"a bank of 250 patches would take 0.00 GB, more than bank.max_bytes \(0.00 GB"
    ):
        bank(tmp_path, max_bytes=1e4).check()


def test_a_teacher_that_returns_another_size_is_named(tmp_path: Path) -> None:
    made = bank(tmp_path, teacher=teacher(upscale=lambda pixels: pixels))
    with pytest.raises(SrkdError, match=r"doubler: its output is \(1, 8, 8, 3\), expected \(1, 16, 16, 3\)"):
        made.build()
