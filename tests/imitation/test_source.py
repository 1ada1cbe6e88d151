"""Batches from a bank: crops that belong together, every patch once an epoch, the same in several processes."""

from __future__ import annotations

import numpy as np
import pytest

from srkd.data.patches import Patches
from srkd.errors import SrkdError
from srkd.imitation.source import ImitationSource, shrunk

DTYPE = np.dtype([("lr", np.uint8, (8, 8, 3)), ("output", np.uint8, (32, 32, 3))])


def shards() -> list[np.ndarray]:
    rng, made = np.random.default_rng(0), []
    for number in range(2):
        rows = np.zeros(5, DTYPE)
        rows["lr"] = rng.integers(0, 256, (5, 8, 8, 3))
        rows["lr"][:, :, :, 0] = (5 * number + np.arange(5))[:, None, None]  # red is the number of the patch
        rows["output"] = rows["lr"].repeat(4, 1).repeat(4, 2)
        made.append(rows)
    return made


def source(scale: int = 4, batch: int = 3, **options: object) -> ImitationSource:
    hr = lambda number: shards()[number // 5][number % 5]["output"]  # noqa: E731
    return ImitationSource(shards(), 10, Patches(6 * scale, batch, scale, **options), hr)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_input_output_and_ground_truth_are_the_same_crop(scale: int) -> None:
    for number in range(4):
        batch = source(scale).draw(number)
        assert batch["lr"].shape == (3, 6, 6, 3) and batch["teacher_output"].shape == (3, 6 * scale, 6 * scale, 3)
        enlarged = batch["lr"].repeat(scale, 1).repeat(scale, 2)
        np.testing.assert_array_equal(batch["teacher_output"], enlarged)
        np.testing.assert_array_equal(batch["hr"], enlarged)
        np.testing.assert_array_equal(batch["lr"][:, 0, 0, 0], batch["index"])


def test_an_epoch_has_every_patch_once_and_the_next_another_order() -> None:
    one = source(batch=5)
    epochs = [np.concatenate([one.draw(number)["index"] for number in pair]) for pair in ((0, 1), (2, 3))]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert not np.array_equal(*epochs)


def test_several_processes_share_a_batch() -> None:
    whole = source(batch=4).draw(3)
    parts = [source(batch=4).draw(3, rank, 2) for rank in (0, 1)]
    for key in ("lr", "teacher_output", "index"):
        merged = np.empty_like(whole[key])
        merged[0::2], merged[1::2] = parts[0][key], parts[1][key]
        np.testing.assert_array_equal(merged, whole[key])


def test_without_ground_truth_there_is_none() -> None:
    assert set(ImitationSource(shards(), 10, Patches(24, 2, 4)).draw(0)) == {"lr", "teacher_output", "index"}


def test_shrinking_averages_cells() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    means = image.reshape(3, 2, 4, 2, 3).mean((1, 3))
    assert np.abs(shrunk(image, 2) - means).max() <= 0.5
    assert shrunk(image, 1) is image


def test_mistakes_are_named() -> None:
    with pytest.raises(SrkdError, match="the bank has 10 patches, fewer than a batch of 11"):
        source(batch=11)
    with pytest.raises(SrkdError, match=r"gt_size 36 needs LR patches of 9, but the bank's are 8 \(bank.lr_size\)"):
        ImitationSource(shards(), 10, Patches(36, 2, 4))
