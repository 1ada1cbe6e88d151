from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from srkd.errors import SrkdError
from srkd.images import formats
from srkd.images.formats import FORMATS
from srkd.images.metadata import Metadata
from srkd.images.read import (
    MAX_PIXELS,
    ImageData,
    ImageHeader,
    image_header,
    image_size,
    list_images,
    read_image,
    read_rgb,
    write_image,
)
from srkd.images.write import open_writer

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = [
    (f.name, channels, dtype)
    for f in FORMATS.values()
    for channels in (1, 2, 3, 4)
    for dtype in (np.uint8, np.uint16)
    if not f.lossy and not f.palette and (f.alpha or channels in (1, 3)) and (f.deep or dtype == np.uint8)
    if (f.name, channels) not in (("bmp", 2), ("ppm", 1))  # they store them as RGBA and RGB
    if f.colour or channels < 3
]


def noise(channels: int, dtype: type = np.uint8, height: int = 21, width: int = 13) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def smooth(channels: int) -> np.ndarray:
    y, x = np.mgrid[:40, :56]
    return np.stack([100 + 40 * np.sin(x / (7 + c)) + 50 * np.cos(y / (9 - c)) for c in range(channels)], -1).astype(
        np.uint8
    )


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x8298] = orientation, "Maker", "Someone"
    exif[0x8769] = {0x9003: "2020:01:02 03:04:05", 0xA002: 13, 0xA003: 21}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    return exif.tobytes()


def png(width: int, height: int, depth: int, colour: int, raw: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join(chunk(*e) for e in extra) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + body


@pytest.mark.parametrize(("name", "channels", "dtype"), LOSSLESS)
def test_lossless_formats_keep_the_pixels(tmp_path: Path, name: str, channels: int, dtype: type) -> None:
    pixels = noise(channels, dtype)
    path = tmp_path / f"a.{name}"
    meta = Metadata(icc=SRGB, exif=exif_block(), dpi=(300, 150))
    write_image(path, ImageData(pixels, metadata=meta))
    back = read_image(path)
    assert back.pixels.dtype == dtype
    assert back.format == name
    np.testing.assert_array_equal(back.pixels, pixels)
    kept = FORMATS[name].kept
    if formats.DPI in kept:
        assert back.metadata.dpi == pytest.approx((300, 150), abs=0.02)
    if formats.EXIF in kept:
        assert back.metadata.icc == SRGB
        check_exif(back.metadata.exif)


def check_exif(block: bytes | None, size: tuple[int, int] = (13, 21)) -> None:
    assert block is not None
    exif = Image.Exif()
    exif.load(block)
    assert (exif[0x010F], exif[0x8298], exif.get(0x0112, 1)) == ("Maker", "Someone", 1)
    assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    assert (exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]) == size
    assert exif.get_ifd(0x8825)[2] == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(("name", "channels"), [("jpeg", 1), ("jpeg", 3), ("webp", 3), ("webp", 4)])
def test_lossy_formats_stay_close_and_keep_metadata(tmp_path: Path, name: str, channels: int) -> None:
    pixels = smooth(channels)
    path = tmp_path / f"a.{name}"
    meta = Metadata(icc=SRGB, exif=exif_block(), dpi=(96, 96), xmp=b"<x:xmpmeta>hello</x:xmpmeta>")
    errors = []
    for quality in (95, 30):
        write_image(path, ImageData(pixels, metadata=meta), quality=quality)
        back = read_image(path)
        assert back.pixels.shape == pixels.shape
        errors.append(float(np.mean((back.pixels.astype(float) - pixels) ** 2)))
    assert errors[0] < 4 < 60
    assert errors[0] < errors[1]
    assert back.metadata.icc == SRGB
    assert back.metadata.xmp is not None and b"hello" in back.metadata.xmp
    check_exif(back.metadata.exif, (56, 40))


def test_webp_at_quality_100_is_lossless(tmp_path: Path) -> None:
    pixels = noise(4)
    pixels[:5, :, 3] = 0  # colours of transparent pixels too
    write_image(tmp_path / "a.webp", ImageData(pixels), quality=100)
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp").pixels, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff"])
def test_orientation_is_applied_once(tmp_path: Path, name: str, orientation: int) -> None:
    from PIL import ImageOps

    stored = Image.fromarray(smooth(3))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a"
    stored.save(path, name, exif=exif, **({"quality": 95} if name != "tiff" else {}))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, expected)
    assert image_size(path) == expected.shape[:2]
    assert image_header(path) == ImageHeader(*expected.shape[:2], image.format)
    write_image(tmp_path / "b.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").pixels, expected)


def test_orientation_of_16_bit_images(tmp_path: Path) -> None:
    pixels = noise(3, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, np.rot90(pixels, -1))
    assert image_size(tmp_path / "a.tif") == (13, 21)


def test_the_orientation_in_xmp_is_reset(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/><tiff:Orientation>8</tiff:Orientation></x:xmpmeta>'
    Image.fromarray(smooth(3)).save(tmp_path / "a.jpg", xmp=xmp)
    image = read_image(tmp_path / "a.jpg")
    for suffix in ("png", "jpg", "webp", "tif"):
        write_image(tmp_path / f"b.{suffix}", image)
        kept = read_image(tmp_path / f"b.{suffix}").metadata.xmp
        assert kept is not None and kept.count(b"1") == 2 and b"6" not in kept


def test_png_keeps_colour_space_and_text(tmp_path: Path) -> None:
    raw = bytes([0, 7, 8, 9])
    gamma, text = (b"gAMA", struct.pack(">I", 45455)), (b"tEXt", b"Title\0Bird")
    (tmp_path / "a.png").write_bytes(png(1, 1, 8, 2, raw, gamma, text, (b"tIME", b"\0" * 7)))
    write_image(tmp_path / "b.png", read_image(tmp_path / "a.png"))
    data = (tmp_path / "b.png").read_bytes()
    assert data.count(b"gAMA") == data.count(b"Title\0Bird") == 1
    assert b"tIME" not in data


def test_the_depth_is_the_files_not_that_of_its_values(tmp_path: Path) -> None:
    dark = (noise(3) // 4).astype(np.uint16)  # 16 bits, nothing above 63
    write_image(tmp_path / "a.png", ImageData(dark))
    back = read_image(tmp_path / "a.png").pixels
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, dark)


def test_sixteen_bits_into_eight_are_rounded(tmp_path: Path) -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    write_image(tmp_path / "a.bmp", ImageData(deep))
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp").pixels, np.floor(deep / 257 + 0.5))


def other_kinds() -> dict[str, tuple[Image.Image, dict[str, Any], np.ndarray]]:
    palette = Image.fromarray(smooth(3)).quantize(16)
    see_through = palette.copy()
    see_through.info["transparency"] = 3
    bilevel = Image.fromarray(smooth(1)[..., 0]).convert("1")
    cut_out = Image.fromarray(noise(3))
    colour = cut_out.getpixel((2, 2))
    alpha = np.where((np.asarray(cut_out) == colour).all(-1), 0, 255)[..., None]
    return {
        "palette": (palette, {}, np.asarray(palette.convert("RGB"))),
        "palette with transparency": (see_through, {"transparency": 3}, np.asarray(see_through.convert("RGBA"))),
        "1 bit": (bilevel, {}, np.asarray(bilevel.convert("L"))[..., None]),
        "transparent colour": (cut_out, {"transparency": colour}, np.dstack([np.asarray(cut_out), alpha])),
    }


@pytest.mark.parametrize("kind", ["palette", "palette with transparency", "1 bit", "transparent colour"])
def test_other_kinds_of_png(tmp_path: Path, kind: str) -> None:
    image, options, expected = other_kinds()[kind]
    image.save(tmp_path / "a.png", **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, expected)


def test_16_bit_grey_with_a_transparent_value(tmp_path: Path) -> None:
    raw = b"\0" + struct.pack(">3H", 5, 60000, 5)
    (tmp_path / "a.png").write_bytes(png(3, 1, 16, 0, raw, (b"tRNS", struct.pack(">H", 5))))
    pixels = read_image(tmp_path / "a.png").pixels
    assert pixels.tolist() == [[[5, 0], [60000, 65535], [5, 0]]]


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_tiffs_of_tifffile(tmp_path: Path, planar: str, compression: str | None) -> None:
    pixels = noise(4, np.uint16)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric="rgb",
        planarconfig=planar,
        compression=compression,
        extrasamples=["unassalpha"],
        byteorder=">",
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, pixels)


def test_16_bit_lzw_tiff_and_premultiplied_alpha(tmp_path: Path) -> None:
    import cv2

    pixels = noise(3, np.uint16)
    cv2.imwrite(str(tmp_path / "a.tif"), np.ascontiguousarray(pixels[..., ::-1]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, pixels)
    half = np.array([[[1000, 2000, 32768, 32768], [9, 9, 9, 0]]], np.uint16)
    tifffile.imwrite(tmp_path / "b.tif", half, photometric="rgb", extrasamples=["assocalpha"])
    assert read_image(tmp_path / "b.tif").pixels.tolist() == [[[2000, 4000, 65535, 32768], [0, 0, 0, 0]]]


def test_tifffile_reads_our_tiff(tmp_path: Path) -> None:
    pixels = noise(4, np.uint16, 300, 200)
    write_image(tmp_path / "a.tif", ImageData(pixels, metadata=Metadata(icc=SRGB, exif=exif_block(), dpi=(72, 72))))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), pixels)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        page = tif.pages.first
        assert page.extrasamples == (2,)
        assert page.tags[34675].value == SRGB
        assert page.tags["ExifTag"].value["DateTimeOriginal"] == "2020:01:02 03:04:05"


def test_rows_may_come_in_any_blocks(tmp_path: Path) -> None:
    for name, dtype in (("png", np.uint8), ("png", np.uint16), ("tiff", np.uint16), ("jpeg", np.uint8)):
        pixels = noise(3, dtype, 50, 31)
        whole, blocks = tmp_path / f"a.{name}", tmp_path / f"b.{name}"
        write_image(whole, ImageData(pixels))
        with open_writer(blocks, pixels.shape, dtype, name) as writer:
            for start, stop in ((0, 1), (1, 2), (2, 33), (33, 50)):
                writer.write(pixels[start:stop])
        np.testing.assert_array_equal(read_image(blocks).pixels, read_image(whole).pixels)


def test_an_image_that_ends_early_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 rows written"), open_writer(tmp_path / "a.png", (5, 4, 3), np.uint8) as w:
        w.write(noise(3, np.uint8, 3, 4))
    with pytest.raises(ValueError, match="do not fit"), open_writer(tmp_path / "a.png", (5, 4, 3), np.uint8) as w:
        w.write(noise(3, np.uint8, 3, 5))
    assert list(tmp_path.iterdir()) == []


def test_images_that_a_format_cannot_store_raise(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match="jpeg does not support transparency; choose"):
        write_image(tmp_path / "a.jpeg", ImageData(noise(4)))
    with pytest.raises(SrkdError, match="16384x1 exceeds the largest side of webp, 16383"):
        write_image(tmp_path / "a.webp", ImageData(np.zeros((1, 16384, 3), np.uint8)))
    with pytest.raises(SrkdError, match="1x32769 exceeds the largest side of avif, 32768"):
        write_image(tmp_path / "a.avif", ImageData(np.zeros((32769, 1, 3), np.uint8)))
    with pytest.raises(SrkdError, match="16385x16384 exceeds the most pixels of avif, 268,435,456"):
        write_image(tmp_path / "a.avif", ImageData(np.broadcast_to(np.uint8(0), (16384, 16385, 3))))
    with pytest.raises(SrkdError, match="quality must be from 1 to 100"):
        write_image(tmp_path / "a.jpg", ImageData(noise(3)), quality=0)
    with pytest.raises(SrkdError, match=r'unknown image format "jpge" \(did you mean "jpeg"'):
        write_image(tmp_path / "a", ImageData(noise(3)), format="jpge")
    with pytest.raises(SrkdError, match="4 GiB"), open_writer(tmp_path / "a.tif", (40000, 40000, 3), np.uint8, "tiff"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_rgb_for_training(tmp_path: Path) -> None:
    grey = noise(1)
    write_image(tmp_path / "grey.png", ImageData(grey))
    np.testing.assert_array_equal(read_rgb(tmp_path / "grey.png"), np.repeat(grey, 3, 2))
    rgba = noise(4)
    write_image(tmp_path / "clear.png", ImageData(rgba))
    with pytest.raises(SrkdError, match=r"clear\.png: has transparent pixels"):
        read_rgb(tmp_path / "clear.png")
    rgba[..., 3] = 255
    write_image(tmp_path / "full.png", ImageData(rgba))
    np.testing.assert_array_equal(read_rgb(tmp_path / "full.png"), rgba[..., :3])


def test_cmyk_is_converted_with_a_note(tmp_path: Path) -> None:
    Image.fromarray(smooth(3)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert np.abs(image.pixels.astype(int) - smooth(3)).mean() < 4
    assert image.notes == ("converted from CMYK to sRGB without a profile: colours are approximate",)


def test_corrupt_exif_is_dropped(tmp_path: Path) -> None:
    Image.fromarray(smooth(3)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 9)
    image = read_image(tmp_path / "a.jpg")
    assert image.pixels.shape == (40, 56, 3)
    write_image(tmp_path / "b.jpg", image)


def test_files_are_recognised_by_content(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", ImageData(noise(3)))
    os.rename(tmp_path / "a.png", tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").format == "png"


def test_one_pixel(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", ImageData(noise(3, np.uint8, 1, 1)))
    assert read_image(tmp_path / "a.png").pixels.shape == (1, 1, 3)
    assert image_size(tmp_path / "a.png") == (1, 1)


def encoded(name: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(smooth(3)).save(stream, name, **options)
    return stream.getvalue()


def truncated() -> dict[str, bytes]:
    whole = {name: encoded(name) for name in ("png", "jpeg", "webp", "tiff", "bmp")}
    deep = io.BytesIO()
    tifffile.imwrite(deep, noise(3, np.uint16, 60, 60), photometric="rgb", compression="zlib")
    whole["tiff, 16 bits"] = deep.getvalue()
    raw = b"".join(b"\0" + RNG.bytes(60 * 6) for _ in range(60))
    whole["png, 16 bits"] = png(60, 60, 16, 2, raw)
    return {name: data[: int(len(data) * part)] for name, data in whole.items() for part in (0.7,)}


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "tiff", "bmp", "tiff, 16 bits", "png, 16 bits"])
def test_truncated_images_raise(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.png"
    data = truncated()[name]
    for length in (len(data), len(data) // 2, 20, 9, 3):
        path.write_bytes(data[:length])
        with pytest.raises(SrkdError) as error:
            read_image(path)
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)


def bad_images() -> dict[str, tuple[bytes, str]]:
    frames = [Image.fromarray(noise(3)) for _ in range(2)]
    stream, pages, floats = io.BytesIO(), io.BytesIO(), io.BytesIO()
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], duration=50, lossless=True)
    frames[0].save(pages, "TIFF", save_all=True, append_images=frames[1:])
    tifffile.imwrite(floats, RNG.random((8, 8, 3), np.float32), photometric="rgb")
    apng = io.BytesIO()
    frames[0].save(apng, "PNG", save_all=True, append_images=frames[1:])
    flipped = bytearray(png(60, 60, 16, 2, b"".join(b"\0" + RNG.bytes(360) for _ in range(60))))
    flipped[len(flipped) // 2] ^= 255
    return {
        "empty": (b"", "the file is empty"),
        "text": (b"hello, I am a text", "not an image that can be read"),
        "bomb": (png(100_000, 100_000, 8, 2, b""), f"pixels, more than the limit of {MAX_PIXELS:,}"),
        "large": (png(15_000, 10_001, 8, 2, b""), f"15000x10001 pixels, more than the limit of {MAX_PIXELS:,}"),
        "webp animation": (stream.getvalue(), "an animation"),
        "png animation": (apng.getvalue(), "an animation"),
        "pages": (pages.getvalue(), "TIFF file of several pages"),
        "floats": (floats.getvalue(), "32-bit floating-point samples"),
        "flipped bit": (bytes(flipped), "truncated or corrupt"),
        "no size": (png(0, 5, 8, 2, b""), "corrupt"),
    }


@pytest.mark.parametrize("kind", list(bad_images()))
def test_invalid_images_raise_with_the_reason(tmp_path: Path, kind: str) -> None:
    data, words = bad_images()[kind]
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(SrkdError) as error:
        read_image(tmp_path / "a.png")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_folders_raise(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=r"a\.png: No such file"):
        read_image(tmp_path / "a.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(SrkdError, match=r"loop\.png: Too many levels of symbolic links"):
        read_image(tmp_path / "loop.png")
    (tmp_path / "loop.png").unlink()
    with pytest.raises(SrkdError, match="Is a directory"):
        read_image(tmp_path)
    with pytest.raises(SrkdError, match="no such folder"):
        list_images(tmp_path / "none")
    with pytest.raises(SrkdError, match="no images"):
        list_images(tmp_path)


def test_listing(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.JPG"))
    for path in (tmp_path / "b.png", tmp_path / "sub" / "a.tif", odd):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / ".part-1.png").write_bytes(b"x")
    (tmp_path / "notes.txt").write_bytes(b"x")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert [p.name for p in list_images(tmp_path)] == ["b.png", odd.name]
    assert len(list_images(tmp_path, recursive=True)) == 3
    write_image(odd.with_suffix(".png"), ImageData(noise(3)))
    assert read_image(odd.with_suffix(".png")).pixels.shape == (21, 13, 3)
    with pytest.raises(SrkdError, match=r"\\xff\.JPG: not an image"):
        read_image(odd)
