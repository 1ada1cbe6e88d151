import numpy as np
import pytest
from torch import nn

from srkd.data import patches
from srkd.errors import SrkdError
from srkd.inference.model import Model
from srkd.sr.teacher_cache import build_bank, build_outputs
from support import IMAGES, PATCHES, Memory


def test_hr_and_lr_patches_are_aligned_and_augmented_alike() -> None:
    batch = patches.PatchSource(IMAGES, PATCHES).draw(5)
    assert batch["lr"].shape == (6, 8, 8, 3) and batch["hr"].shape == (6, 16, 16, 3)
    for lr, hr, index in zip(batch["lr"], batch["hr"], batch["index"], strict=True):
        assert any(
            np.array_equal(patches.turned(IMAGES.lr(index)[y : y + 8, x : x + 8], code), lr)
            and np.array_equal(patches.turned(IMAGES.hr(index)[2 * y : 2 * y + 16, 2 * x : 2 * x + 16], code), hr)
            for y in range(IMAGES.lr(index).shape[0] - 7)
            for x in range(IMAGES.lr(index).shape[1] - 7)
            for code in range(8)
        )


def test_eight_augmentations_are_distinct_and_none_without_options() -> None:
    patch = np.arange(12).reshape(2, 2, 3)
    assert len({patches.turned(patch, code).tobytes() for code in range(8)}) == 8
    rng = patches.generator(0, 0, 0)
    assert set(patches.codes(rng, 200, True, True)) == set(range(8))
    assert set(patches.codes(rng, 200, True, False)) == {0, 1}
    assert set(patches.codes(rng, 50, False, False)) == {0}


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    source = patches.PatchSource(IMAGES, PATCHES)
    first = source.draw(9)["hr"]
    source.draw(1)
    assert np.array_equal(source.draw(9)["hr"], first)
    assert not np.array_equal(source.draw(10)["hr"], first)
    other = patches.PatchSource(IMAGES, patches.Patches(gt_size=16, batch=6, scale=2, seed=4))
    assert not np.array_equal(other.draw(9)["hr"], first)


@pytest.mark.parametrize("kind", ["pictures", "bank"])
def test_processes_share_one_batch(kind: str, tmp_path) -> None:
    source = patches.PatchSource(IMAGES, PATCHES)
    if kind == "bank":
        source = patches.BankSource(build_bank(None, IMAGES, PATCHES, 20, tmp_path / "bank"), 6, 0)
    whole, shares = source.draw(4), [source.draw(4, rank, 2) for rank in range(2)]
    assert sorted(p.tobytes() for share in shares for p in share["hr"]) == sorted(p.tobytes() for p in whole["hr"])


def test_area_sampling_prefers_large_images_and_image_sampling_does_not() -> None:
    images = Memory([(20, 20), (120, 120)])
    shares = {}
    for sampling in ("picture", "area"):
        cut = patches.Patches(16, 50, 2, sampling=sampling)
        shares[sampling] = np.mean([patches.PatchSource(images, cut).draw(i)["index"] for i in range(20)])
    assert 0.4 < shares["picture"] < 0.6 and shares["area"] > 0.97


def test_every_patch_of_a_bank_is_drawn_once_per_epoch(tmp_path) -> None:
    bank = build_bank(None, IMAGES, PATCHES, 12, tmp_path / "bank")
    source = patches.BankSource(bank, 4, seed=1)
    epochs = [[i for n in range(3 * e, 3 * e + 3) for i in source.draw(n)["index"]] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_small_images_are_reported_or_skipped() -> None:
    images = Memory([(40, 40), (14, 40), (12, 40)])
    with pytest.raises(SrkdError, match=r"p1 \(and 1 more\) is 40x14, smaller than a patch of 16"):
        patches.usable(images, 16, 2, skip_small=False)
    assert patches.usable(images, 16, 2, skip_small=True) == [0]
    with pytest.raises(SrkdError, match="no image is as large"):
        patches.usable(images, 64, 2, skip_small=True)
    with pytest.raises(SrkdError, match="not a multiple"):
        patches.usable(images, 15, 2, skip_small=False)


def test_outputs_are_cropped_and_augmented_with_the_images(tmp_path) -> None:
    outputs = build_outputs(Model(nn.Upsample(scale_factor=2), 2), IMAGES, tmp_path / "o")
    batch = patches.to_batch(patches.PatchSource(IMAGES, PATCHES, {"teacher_output": outputs}).draw(0), "cpu")
    expected = batch["lr"].repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert (batch["teacher_output"] - expected).abs().max() < 1 / patches.OUTPUT_STEPS
