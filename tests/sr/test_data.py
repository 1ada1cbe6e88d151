import numpy as np
import pytest

from srkd.errors import SrkdError
from srkd.sr import data
from srkd.sr.cache import build_bank, build_outputs
from support import PATCHES, PICTURES, Memory


def test_patches_are_aligned_parts_of_the_pictures_turned_alike() -> None:
    batch = data.PictureSource(PICTURES, PATCHES).draw(5)
    assert batch["lr"].shape == (6, 8, 8, 3) and batch["hr"].shape == (6, 16, 16, 3)
    for lr, hr, index in zip(batch["lr"], batch["hr"], batch["index"], strict=True):
        assert any(
            np.array_equal(data.turned(PICTURES.lr(index)[y : y + 8, x : x + 8], code), lr)
            and np.array_equal(data.turned(PICTURES.hr(index)[2 * y : 2 * y + 16, 2 * x : 2 * x + 16], code), hr)
            for y in range(PICTURES.lr(index).shape[0] - 7)
            for x in range(PICTURES.lr(index).shape[1] - 7)
            for code in range(8)
        )


def test_the_eight_turns_are_eight_and_none_without_augmentation() -> None:
    patch = np.arange(12).reshape(2, 2, 3)
    assert len({data.turned(patch, code).tobytes() for code in range(8)}) == 8
    rng = data.generator(0, 0, 0)
    assert set(data.codes(rng, 200, True, True)) == set(range(8))
    assert set(data.codes(rng, 200, True, False)) == {0, 1}
    assert set(data.codes(rng, 50, False, False)) == {0}


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    source = data.PictureSource(PICTURES, PATCHES)
    first = source.draw(9)["hr"]
    source.draw(1)
    assert np.array_equal(source.draw(9)["hr"], first)
    assert not np.array_equal(source.draw(10)["hr"], first)
    other = data.PictureSource(PICTURES, data.Patches(gt_size=16, batch=6, scale=2, seed=4))
    assert not np.array_equal(other.draw(9)["hr"], first)


@pytest.mark.parametrize("kind", ["pictures", "bank"])
def test_processes_share_one_batch(kind: str, tmp_path) -> None:
    source = data.PictureSource(PICTURES, PATCHES)
    if kind == "bank":
        source = data.BankSource(build_bank(None, PICTURES, PATCHES, 20, tmp_path / "bank"), 6, 0)
    whole, shares = source.draw(4), [source.draw(4, rank, 2) for rank in range(2)]
    assert sorted(p.tobytes() for share in shares for p in share["hr"]) == sorted(p.tobytes() for p in whole["hr"])


def test_area_sampling_prefers_large_pictures_and_picture_sampling_does_not() -> None:
    pictures = Memory([(20, 20), (120, 120)])
    shares = {}
    for sampling in ("picture", "area"):
        patches = data.Patches(16, 50, 2, sampling=sampling)
        shares[sampling] = np.mean([data.PictureSource(pictures, patches).draw(i)["index"] for i in range(20)])
    assert 0.4 < shares["picture"] < 0.6 and shares["area"] > 0.97


def test_every_patch_of_a_bank_comes_once_an_epoch(tmp_path) -> None:
    bank = build_bank(None, PICTURES, PATCHES, 12, tmp_path / "bank")
    source = data.BankSource(bank, 4, seed=1)
    epochs = [[i for n in range(3 * e, 3 * e + 3) for i in source.draw(n)["index"]] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_small_pictures_are_named_or_left_out() -> None:
    pictures = Memory([(40, 40), (14, 40), (12, 40)])
    with pytest.raises(SrkdError, match=r"p1 \(and 1 more\) is 40x14, smaller than a patch of 16"):
        data.usable(pictures, 16, 2, skip_small=False)
    assert data.usable(pictures, 16, 2, skip_small=True) == [0]
    with pytest.raises(SrkdError, match="no picture is as large"):
        data.usable(pictures, 64, 2, skip_small=True)
    with pytest.raises(SrkdError, match="not a multiple"):
        data.usable(pictures, 15, 2, skip_small=False)


def test_outputs_are_cropped_and_turned_with_the_pictures(tmp_path) -> None:
    class Nearest:
        def parameters(self):
            return iter(())

        def __call__(self, x):
            return x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    outputs = build_outputs(Nearest(), PICTURES, 2, tmp_path / "o")
    batch = data.to_batch(data.PictureSource(PICTURES, PATCHES, outputs).draw(0), "cpu")
    expected = batch["lr"].repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert (batch["teacher_output"] - expected).abs().max() < 1 / data.OUTPUT_STEPS
