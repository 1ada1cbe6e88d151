"""PGM, PPM and PAM: depths, text, comments, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srkd.errors import SrkdError
from srkd.images.read import ImageData, image_size, read_image, write_image
from support import textured


def read(path: Path, data: bytes) -> np.ndarray:
    path.write_bytes(data)
    pixels = read_image(path).pixels
    assert image_size(path) == pixels.shape[:2]
    return pixels


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P5\n# a comment\n2 1 255\n\x00\xff", [[[0], [255]]]),
        (b"P5 2 1 15\n\x00\x0f", [[[0], [255]]]),
        (b"P5 2 1 1000 \x00\x00\x03\xe8", [[[0], [65535]]]),
        (b"P2\n2 1\n# white is 4\n4\n2 4\n", [[[128], [255]]]),
        (b"P2 2 1 65535 1 65535", [[[1], [65535]]]),
        (b"P3 1 1 255 1 2 3", [[[1, 2, 3]]]),
        (b"P6 1 1 255\n\x01\x02\x03 and more", [[[1, 2, 3]]]),
        (
            b"P7\nWIDTH 1\nHEIGHT 1\n# words\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n\x01\x02\x03\x04",
            [[[1, 2, 3, 4]]],
        ),
    ],
)
def test_files_of_the_specification(tmp_path: Path, data: bytes, expected: list[list[list[int]]]) -> None:
    assert read(tmp_path / "a", data).tolist() == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5 2 2 255\n\x00", "truncated or corrupt"),
        (b"P5 2 1 9\n\x00\x0a", "samples above their largest value 9"),
        (b"P2 2 1 9\n3", "truncated or corrupt"),
        (b"P2 2 1 9\n3 x", "a sample is not a number"),
        (b"P2 2 1 9\n3 -1", "a sample is not a number"),
        (b"P2 2 1 9\n3 99999999999999999999999", "samples above their largest value"),
        (b"P5 0 1 255\n", "header is corrupt"),
        (b"P5 1 1 65536\n\0\0", "header is corrupt"),
        (b"P6 99999 99999 255\n", "more than the limit of"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 9\nMAXVAL 255\nENDHDR\n", "9 channels"),
        (b"P7\nWIDTH 1\n", "header is truncated"),
        (b"P7\nWIDTH\nENDHDR\n", "header is truncated or corrupt"),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(SrkdError, match=message) as error:
        read(tmp_path / "a.ppm", data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_other_programs_read_what_is_written(tmp_path: Path, dtype: type) -> None:
    import cv2

    pixels = textured(0, 9, 12).astype(dtype) * (np.iinfo(dtype).max // 255)
    for name, stored in (("a.pgm", pixels[..., :1]), ("a.ppm", pixels)):
        write_image(tmp_path / name, ImageData(stored))
        found = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(found.reshape(stored.shape)[..., ::-1], stored)


def test_a_grey_ppm_and_a_coloured_pgm(tmp_path: Path) -> None:
    pixels = textured(0, 9, 12)
    write_image(tmp_path / "a.ppm", ImageData(pixels[..., :1]))
    with Image.open(tmp_path / "a.ppm") as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), np.repeat(pixels[..., :1], 3, axis=2))
    with pytest.raises(SrkdError, match="pgm stores grey images only; choose ppm or png"):
        write_image(tmp_path / "a.pgm", ImageData(pixels))
    with pytest.raises(SrkdError, match="ppm does not support transparency"):
        write_image(tmp_path / "b.ppm", ImageData(np.dstack([pixels, pixels[..., :1]])))
    assert [path.name for path in tmp_path.iterdir()] == ["a.ppm"]
