"""Downscaled copies of training images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage

from srkd.data.copies import smaller
from srkd.errors import SrkdError
from srkd.images.read import list_images, read_image
from srkd.images.resize import imresize
from srkd.training.recipe import override
from srkd.training.run import Run


def test_copies_are_imresize_of_the_originals_and_created_once(photos: Path) -> None:
    originals = list_images(photos)
    copies = smaller(originals, [0.5, 0.75])
    assert len(copies) == 2 * len(originals)
    for original, copy in zip(originals, copies, strict=False):
        assert np.array_equal(read_image(copy).pixels, imresize(read_image(original).pixels, 0.5))
    before = [path.stat().st_mtime_ns for path in copies]
    assert smaller(originals, [0.5, 0.75]) == copies
    assert [path.stat().st_mtime_ns for path in copies] == before


def test_sharpened_copies_are_unsharp_masks_of_the_copies(photos: Path) -> None:
    originals = list_images(photos)
    plain, sharp = smaller(originals, [0.5]), smaller(originals, [0.5], sharpen=[0.5])
    assert not set(plain) & set(sharp) and smaller(originals, [0.5], sharpen=[0, 0.5]) == plain + sharp
    for soft, copy in zip(plain, sharp, strict=True):
        exact = read_image(soft).pixels.astype(np.float64)
        blurred = scipy.ndimage.gaussian_filter(exact, (0.8, 0.8, 0), mode="mirror", radius=4)
        wanted = np.clip(exact + 0.5 * (exact - blurred), 0, 255)
        assert np.abs(read_image(copy).pixels - wanted).max() < 1.0


def test_a_recipe_trains_on_the_images_and_their_copies(recipe: dict[str, Any], tmp_path: Path) -> None:
    def images(*settings: str) -> Any:
        return Run(override(recipe, settings), tmp_path, quiet=True).dry_run()[0].images

    plain, more = images(), images("datasets.train.copies=[0.5]")
    assert len(more) == 2 * len(plain) and more.hr(len(plain)).shape[0] == plain.hr(0).shape[0] // 2
    sharp = images("datasets.train.copies=[0.5]", "datasets.train.sharpen_copies=[1]")
    assert np.std(sharp.hr(len(plain))) > np.std(more.hr(len(plain)))
    with pytest.raises(SrkdError, match=r"sharpen_copies: there are no copies to sharpen"):
        images("datasets.train.sharpen_copies=[1]")
    with pytest.raises(SrkdError, match=r"datasets.train.copies.0: input should be less than 1"):
        images("datasets.train.copies=[1.5]")
    with pytest.raises(SrkdError, match=r"copies: cannot be combined with dataroot_lq"):
        images("datasets.train.copies=[0.5]", f"datasets.train.dataroot_lq={tmp_path}")
