"""Formats of optional packages (JPEG XL, HEIC), AVIF and JPEG 2000: what is kept, and lossless files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from srkd.errors import SrkdError
from srkd.images import decoders, jxl
from srkd.images.metadata import Metadata
from srkd.images.read import ImageData, image_size, read_image, write_image
from srkd.inference.jobs import plan_jobs
from support import textured

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


def encoded(pixels: np.ndarray, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


@pytest.fixture
def needs_jxl() -> None:
    pytest.importorskip("pillow_jxl")


@pytest.fixture
def needs_heif() -> None:
    pytest.importorskip("pillow_heif")


@pytest.mark.parametrize("use_container", [False, True])
@pytest.mark.parametrize("size", [(20, 24), (16, 16), (64, 96), (600, 800), (3, 300)])
def test_jpeg_xl(tmp_path: Path, size: tuple[int, int], use_container: bool, needs_jxl: None) -> None:
    pixels = textured(0, *size)
    for stored in (pixels, pixels[..., 0], np.dstack([pixels, pixels[..., :1]])):
        data = encoded(stored, "JXL", lossless=True, use_container=use_container)
        assert jxl.header(data) == jxl.JxlHeader(*size, 8, lossless=True)
        (tmp_path / "a.jxl").write_bytes(data)
        np.testing.assert_array_equal(read_image(tmp_path / "a.jxl").pixels, stored.reshape(*size, -1))
        assert image_size(tmp_path / "a.jxl") == size


def test_jpeg_xl_ignores_the_orientation_of_exif(tmp_path: Path, needs_jxl: None) -> None:
    pixels = textured(0, 20, 30)
    (tmp_path / "a.jxl").write_bytes(encoded(pixels, "JXL", lossless=True, exif=turned().tobytes()))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jxl").pixels, pixels)


class Bits:
    """The header of a JPEG XL codestream, field by field: (value, number of bits)."""

    def __init__(self, *fields: tuple[int, int]) -> None:
        value, at = 0, 0
        for number, count in fields:
            value |= number << at
            at += count
        self.data = b"\xff\x0a" + value.to_bytes(40, "little")


SIDE = ((0, 1), (3, 2))  # not in eights; 30 bits follow


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([*SIDE, (99_999, 30), (1, 3), (1, 1)], "declares 100000x100000 pixels"),
        ([*SIDE, (9, 30), (1, 3), (0, 1), (0, 1), (0, 1), (2, 2)], "12-bit samples of JPEG XL"),
        ([*SIDE, (9, 30), (1, 3), (0, 1), (0, 1), (1, 1)], "floating-point samples"),
        ([*SIDE, (9, 30), (1, 3), (0, 1), (1, 1), (0, 3), (0, 1), (0, 1), (1, 1)], "an animation"),
    ],
)
def test_jpeg_xl_is_judged_by_its_header(tmp_path: Path, fields: list[tuple[int, int]], message: str) -> None:
    (tmp_path / "a.jxl").write_bytes(Bits(*fields).data)
    with pytest.raises(SrkdError, match=message) as error:
        read_image(tmp_path / "a.jxl")
    assert "\n" not in str(error.value)


def test_jpeg_xl_turned_upright_by_its_header() -> None:
    fields = [*SIDE, (9, 30), (7, 3), (0, 1), (1, 1), (5, 3), (0, 1), (0, 1), (0, 1), (0, 1), (0, 2)]
    fields += [(1, 1), (0, 2), (1, 1)]  # no extra channels, XYB
    assert jxl.header(Bits(*fields).data) == jxl.JxlHeader(20, 10, 8)


def test_truncated_jpeg_xl_raises(tmp_path: Path, needs_jxl: None) -> None:
    data = encoded(textured(0, 64, 64), "JXL", lossless=True)
    for length in (len(data) // 2, 13, 4, 2):
        (tmp_path / "a.jxl").write_bytes(data[:length])
        with pytest.raises(SrkdError, match="truncated or corrupt"):
            read_image(tmp_path / "a.jxl")


def test_heic(tmp_path: Path, needs_heif: None) -> None:
    pixels = textured(0, 20, 30)
    exact: dict[str, Any] = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
    read_image_of = tmp_path / "a.heic"
    for stored in (pixels, np.dstack([pixels, pixels[..., :1]])):
        read_image_of.write_bytes(encoded(stored, "HEIF", icc_profile=SRGB, **exact))
        image = read_image(read_image_of)
        np.testing.assert_array_equal(image.pixels, stored)
        assert image.metadata.icc == SRGB and image_size(read_image_of) == (20, 30)
    read_image_of.write_bytes(encoded(pixels, "HEIF", exif=turned().tobytes(), **exact))
    assert read_image(read_image_of).pixels.shape == (30, 20, 3) and image_size(read_image_of) == (30, 20)
    np.testing.assert_array_equal(read_image(read_image_of).pixels, np.rot90(pixels, -1))


def test_heic_of_10_bits_keeps_them(tmp_path: Path, needs_heif: None) -> None:
    import pillow_heif

    deep = (np.arange(20 * 24 * 3, dtype=np.uint32) * 1023 // (20 * 24 * 3 - 1)).astype(np.uint16).reshape(20, 24, 3)
    stored = pillow_heif.from_bytes("RGB;16", (24, 20), (deep << 6).tobytes())
    stored.save(tmp_path / "a.heic", quality=-1, chroma=444, matrix_coefficients=0)
    expected = (deep.astype(np.uint32) * 65535 + 511) // 1023
    np.testing.assert_array_equal(read_image(tmp_path / "a.heic").pixels, expected)


@pytest.mark.parametrize(
    ("format", "head", "package"),
    [
        ("JXL", Bits(*SIDE, (9, 30), (1, 3), (1, 1)).data, "JPEG XL needs the package pillow-jxl-plugin"),
        ("HEIF", b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "HEIC needs the package pillow-heif"),
    ],
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, head: bytes, package: str
) -> None:
    monkeypatch.delitem(Image.OPEN, format, raising=False)
    (tmp_path / "a").write_bytes(head + bytes(99))
    with pytest.raises(SrkdError, match=rf"{package}: pip install 'srkd\[formats\]'$"):
        read_image(tmp_path / "a")


@pytest.mark.skipif("AVIF" not in Image.SAVE, reason="this Pillow does not write AVIF")
def test_avif(tmp_path: Path) -> None:
    pixels = textured(0, 40, 60)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + bytes(6)
    for stored in (pixels, pixels[..., :1], np.dstack([pixels, pixels[..., :1]])):
        write_image(tmp_path / "a.avif", ImageData(stored, metadata=Metadata(icc=SRGB, exif=exif)), quality=100)
        image = read_image(tmp_path / "a.avif")
        assert not image.lossless and image.metadata.icc == SRGB and image.metadata.exif is not None
        colour = np.broadcast_to(stored, pixels.shape) if stored.shape[2] == 1 else stored
        assert np.abs(image.pixels.astype(int) - colour).max() <= 4
    sizes = []
    for quality in (30, 95):
        write_image(tmp_path / "b.avif", ImageData(pixels), quality=quality)
        sizes.append((tmp_path / "b.avif").stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(("matrix", "lossless"), [(0, True), (1, False)])
def test_lossless_avif_is_recognised(matrix: int, lossless: bool) -> None:
    box = b"\0\0\0\x13colrnclx" + bytes([0, 1, 0, 13, 0, matrix, 128])
    assert decoders.is_rgb_in_isobmff(b"\0\0\0\x1cftypavif" + box) is lossless
    assert not decoders.is_rgb_in_isobmff(b"\0\0\0\x1cftypavif")


WRITTEN = ["jxl", "heic", "jp2"]
COLOURS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA"}


@pytest.fixture(params=WRITTEN)
def name(request: pytest.FixtureRequest) -> str:
    if request.param != "jp2":
        pytest.importorskip({"jxl": "pillow_jxl", "heic": "pillow_heif"}[request.param])
    return str(request.param)


@pytest.mark.parametrize("channels", COLOURS, ids=COLOURS.values())
def test_quality_100_is_lossless_and_recognised_as_such(tmp_path: Path, name: str, channels: int) -> None:
    stored = np.dstack([textured(0, 19, 30), textured(1, 19, 30)])[..., :channels]
    exif, xmp = b"Exif\0\0II*\0\x08\0\0\0" + bytes(6), b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    path = tmp_path / f"a.{name}"
    write_image(path, ImageData(stored, metadata=Metadata(exif=exif, xmp=xmp)), quality=100)
    image = read_image(path)
    expected = stored[..., [0, 0, 0, 1]] if (name, channels) == ("heic", 2) else stored
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.format == name and image.lossless and image.metadata.exif is not None
    assert image.metadata.xmp == (xmp if name != "jxl" else None)  # its plug-in does not read XMP
    sizes = []
    for quality in (30, 95):
        write_image(path, ImageData(stored), quality=quality)
        lossy = read_image(path)
        assert not lossy.lossless and np.abs(lossy.pixels.astype(int) - expected).mean() < 20
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("channels", COLOURS, ids=COLOURS.values())
def test_jpeg_2000_keeps_16_bits(tmp_path: Path, channels: int) -> None:
    deep = np.dstack([textured(n, 19, 30).astype(np.uint16) * 256 + n for n in (0, 1)])[..., :channels]
    metadata = Metadata(icc=SRGB if channels > 2 else None, dpi=(300, 72))
    write_image(tmp_path / "a.jp2", ImageData(deep, metadata=metadata))
    image = read_image(tmp_path / "a.jp2")
    np.testing.assert_array_equal(image.pixels, deep[..., [0, 0, 0, 1]] if channels == 2 else deep)
    assert image.lossless and image.metadata.icc == metadata.icc
    assert image.metadata.dpi == pytest.approx((300, 72), abs=0.01)


def test_heic_is_written_with_12_bits(tmp_path: Path, needs_heif: None) -> None:
    twelve = (np.arange(20 * 24 * 4, dtype=np.uint32) * 4095 // (20 * 24 * 4 - 1)).reshape(20, 24, 4)
    deep = ((twelve * 65535 + 2047) // 4095).astype(np.uint16)
    for channels in (1, 3, 4):
        write_image(tmp_path / "a.heic", ImageData(deep[..., :channels], metadata=Metadata(icc=SRGB)), quality=100)
        image = read_image(tmp_path / "a.heic")
        np.testing.assert_array_equal(image.pixels, deep[..., :channels])


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_the_orientation_of_jpeg_2000_is_applied(tmp_path: Path, orientation: int) -> None:
    from srkd.images import jpeg2000

    exif, pixels = Image.Exif(), textured(0, 20, 30)
    exif[274] = orientation
    (tmp_path / "a.jp2").write_bytes(jpeg2000.encoded(pixels, 100, Metadata(exif=exif.tobytes())))
    expected = np.rot90(pixels, {1: 0, 6: -1, 8: 1}[orientation])
    np.testing.assert_array_equal(read_image(tmp_path / "a.jp2").pixels, expected)
    assert image_size(tmp_path / "a.jp2") == expected.shape[:2]


@pytest.mark.parametrize("name", ["JXL", "HEIF"])
def test_a_package_that_is_missing_for_writing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delitem(Image.SAVE, name, raising=False)
    target = tmp_path / {"JXL": "a.jxl", "HEIF": "a.heic"}[name]
    with pytest.raises(SrkdError, match=r"needs the package .*: pip install 'srkd\[formats\]'$"):
        write_image(target, ImageData(textured(0, 8, 8)))
    assert not list(tmp_path.iterdir())
    write_image(tmp_path / "a.png", ImageData(textured(0, 8, 8)))
    for output, asked in ((target, None), (tmp_path / "out", target.suffix[1:])):  # before the network has worked
        with pytest.raises(SrkdError, match=r"needs the package .*: pip install 'srkd\[formats\]'$"):
            plan_jobs([str(tmp_path / "a.png")], output, asked)
