"""JPEG files written strip by strip."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from srkd.images import jpeg_writer
from srkd.images.jpeg_writer import JpegWriter
from srkd.images.metadata import Metadata
from srkd.images.read import read_image
from srkd.images.write import open_writer


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """Smooth colours with noise, whose sides are multiples of nothing."""
    y, x, c = np.mgrid[:203, :149, :3]
    noise = np.random.default_rng(0).integers(0, 40, y.shape)
    return (100 + 60 * np.sin(x / 9 + c) + 40 * np.cos(y / 7) + noise).clip(0, 255).astype(np.uint8)


def written(pixels: NDArray[np.uint8], quality: int, rows: int, metadata: Metadata | None = None) -> bytes:
    stream = io.BytesIO()
    writer = JpegWriter(stream, (*pixels.shape[:2], pixels.shape[2]), quality, metadata or Metadata())
    for at in range(0, len(pixels), rows):
        writer.write(pixels[at : at + rows])
    writer.finish()
    return stream.getvalue()


def by_pillow(pixels: NDArray[np.uint8], quality: int) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(stream, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
    return stream.getvalue()


@pytest.mark.parametrize("quality", [95, 75])
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("rows", [1, 50, 203])
def test_strips_are_the_pixels_of_the_whole(
    pixels: NDArray[np.uint8], quality: int, channels: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, whole = pixels[..., :channels], by_pillow(pixels[..., :channels], quality)
    assert written(pixels, quality, rows) == whole
    monkeypatch.setattr(jpeg_writer, "_STRIP_BYTES", 149 * channels * 16)  # 13 strips of 16 rows
    data = written(pixels, quality, rows)
    assert len(re.findall(rb"\xff[\xd0-\xd7]", data)) == 12 and len(data) > len(whole)
    found, expected = (np.asarray(Image.open(io.BytesIO(each))) for each in (data, whole))
    np.testing.assert_array_equal(found, expected)


def test_a_restart_interval_has_at_most_65535_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg_writer, "_MOST_BLOCKS", 40)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 160, 3), np.uint8)  # 20 blocks of 8x8 across
    data = written(pixels, 90, 7)
    at = data.index(b"\xff\xdd\x00\x04")
    assert int.from_bytes(data[at + 4 : at + 6], "big") == 40
    np.testing.assert_array_equal(Image.open(io.BytesIO(data)), Image.open(io.BytesIO(by_pillow(pixels, 90))))


def test_metadata_are_in_the_first_strip_and_the_file_is_complete(
    pixels: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jpeg_writer, "_STRIP_BYTES", 1)
    path = tmp_path / "strips.jpg"
    with open_writer(path, pixels.shape, np.uint8, "jpeg", 80, Metadata(dpi=(300.0, 300.0), comment=b"hello")) as out:
        out.write(pixels)
    found = read_image(path)
    assert found.pixels.shape == pixels.shape and found.metadata.comment == b"hello"
    assert path.read_bytes().count(b"hello") == 1
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(Exception, match="truncated"):
        read_image(path)
