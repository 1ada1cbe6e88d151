from __future__ import annotations

import base64
from itertools import product

import cv2
import numpy as np
import pytest

from srkd.errors import SrkdError
from srkd.report import crops
from srkd.report.crops import Box

RNG = np.random.default_rng(0)


def image(height: int = 40, width: int = 50) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def decoded(png: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_busiest_is_the_square_of_the_largest_difference() -> None:
    hr, bicubic = image(17, 23), image(17, 23)
    difference = np.abs(hr.astype(int) - bicubic.astype(int))
    best = max(product(range(17 - 5 + 1), range(23 - 5 + 1)), key=lambda p: Box(*p, 5, 5).cut(difference).sum())
    assert crops.busiest(hr, bicubic, 5) == (*best, 5, 5)


def test_busiest_of_a_small_image_is_all_of_it() -> None:
    assert crops.busiest(image(9, 30), image(9, 30), 16)[2:] == (9, 16)


def test_section_holds_the_very_pixels() -> None:
    images, box = {"HR": image(), "bicubic": image()}, Box(3, 7, 10, 12)
    found = crops.section(images, box, {"bicubic": "28.3 dB"})["items"]
    assert [(item["label"], item["note"]) for item in found] == [("HR", ""), ("bicubic", "28.3 dB")]
    for item, original in zip(found, images.values(), strict=True):
        assert np.array_equal(decoded(base64.b64decode(item["png"])), original[3:13, 7:19])


def test_sheet_shows_every_region_magnified_by_a_whole_number() -> None:
    images = {name: image() for name in ("HR", "bicubic", "student", "teacher", "五 \udcff\x00")}
    box = Box(4, 4, 30, 40)
    sheet = decoded(crops.sheet(images, box, {"student": "a note that is far too long for the width of one tile"}))
    for original in images.values():
        wanted = box.cut(original).repeat(6, axis=0).repeat(6, axis=1)  # 240 / 40
        _, _, (left, top), _ = cv2.minMaxLoc(cv2.matchTemplate(sheet, wanted, cv2.TM_SQDIFF))
        found = sheet[top : top + wanted.shape[0], left : left + wanted.shape[1]]
        assert np.array_equal(found, wanted), "a region is not on the sheet as it is"


def test_sheet_selects_a_region_by_default() -> None:
    hr = np.full((64, 96, 3), 200, np.uint8)
    bicubic = hr.copy()
    bicubic[40:44, 60:64] = 0
    found = crops.busiest(hr, bicubic, 64)
    assert np.array_equal(
        decoded(crops.sheet({"HR": hr, "bicubic": bicubic})),
        decoded(crops.sheet({"HR": hr, "bicubic": bicubic}, found)),
    )
    with pytest.raises(SrkdError, match="no image named bicubic to select one"):
        crops.sheet({"HR": hr})


@pytest.mark.parametrize("box", [Box(0, 0, 41, 5), Box(-1, 0, 5, 5), Box(0, 46, 5, 5), Box(0, 0, 0, 5)])
def test_a_region_outside_raises(box: Box) -> None:
    with pytest.raises(SrkdError, match="is not inside images of 50x40"):
        crops.section({"HR": image()}, box)


def test_images_of_different_sizes_raise() -> None:
    with pytest.raises(SrkdError, match="must have the same size: HR 50x40, student 48x40"):
        crops.section({"HR": image(), "student": image(40, 48)}, Box(0, 0, 5, 5))
