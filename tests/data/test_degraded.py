"""Degraded patches: reproducible by number, aligned with their ground truth, within their images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from srkd.data.degradations import Levels
from srkd.data.degraded import CropPlan, DegradedPatches
from srkd.errors import SrkdError
from srkd.images.resize import imresize
from support import textured

PLAN = CropPlan(lr_size=8, scale=4, levels=Levels(slight_prob=0.5))


class Images:
    def __init__(self, *sizes: tuple[int, int]) -> None:
        self.images = [textured(number, *size) for number, size in enumerate(sizes)]

    def __len__(self) -> int:
        return len(self.images)

    def hr(self, number: int) -> np.ndarray:
        return self.images[number]


def test_a_patch_depends_on_its_number_and_the_seed_alone() -> None:
    images = Images((100, 120), (64, 40))
    first, again = DegradedPatches(images, PLAN), DegradedPatches(images, PLAN)
    order = [4, 0, 2, 4]
    for number in order:
        np.testing.assert_array_equal(first.draw(number), again.draw(number))
    other = DegradedPatches(images, replace(PLAN, seed=1))
    assert not np.array_equal(first.draw(0), other.draw(0))
    assert not np.array_equal(first.draw(0), first.draw(1))


@pytest.mark.parametrize("rot", [False, True])
def test_the_ground_truth_is_where_the_patch_is(rot: bool) -> None:
    """Without degradation, a patch is the shrunk ground truth but for the pixels that the kernel sees beyond it."""
    plan = replace(PLAN, levels=Levels(clean_prob=1.0), rot=rot)
    patches = DegradedPatches(Images((100, 120), (90, 80)), plan)
    for number in range(12):
        lr, hr = patches.draw(number), patches.hr(number)
        assert lr.shape == (8, 8, 3) and hr.shape == (32, 32, 3) and lr.dtype == hr.dtype == np.uint8
        np.testing.assert_allclose(lr[2:-2, 2:-2], imresize(hr, 1 / 4)[2:-2, 2:-2], atol=1)


def test_patches_lie_at_every_offset_in_their_window_so_that_jpeg_blocks_are_not_aligned() -> None:
    patches = DegradedPatches(Images((100, 120)), PLAN)
    places = [patches._place(number) for number in range(200)]
    assert {place.top % 8 for place in places} == set(range(8))
    assert max(place.top for place in places) == 16 and max(place.y + place.side for place in places) <= 100


def test_images_that_are_too_small_are_left_out() -> None:
    patches = DegradedPatches(Images((31, 100), (32, 32)), PLAN)
    assert {patches._place(number).image for number in range(20)} == {1}
    assert patches.draw(3).shape == (8, 8, 3)
    with pytest.raises(SrkdError, match="no image is as large as a patch of 32 pixels"):
        DegradedPatches(Images((31, 100)), PLAN)


def test_sampling_by_area_prefers_large_images() -> None:
    images = Images((200, 200), (50, 50))
    by_area = DegradedPatches(images, replace(PLAN, sampling="area"))
    by_image = DegradedPatches(images, PLAN)
    shares = [np.mean([patches._place(n).image for n in range(300)]) for patches in (by_area, by_image)]
    assert shares[0] < 0.1 and 0.4 < shares[1] < 0.6
