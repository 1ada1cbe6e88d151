"""Corrupt files, depths and orientation, with files assembled byte by byte."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from io_files import directory, exif_block, png, tiff_block
from PIL import GifImagePlugin, Image

from srkd.errors import SrkdError
from srkd.images import decoders, gif
from srkd.images.read import ImageData, image_size, read_image, write_image
from support import textured

TRUNCATED = "truncated or corrupt"


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


def scan(data: bytes) -> int:
    """The offset of the data of the first scan."""
    at = data.index(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def rejected(path: Path, data: bytes, message: str = TRUNCATED) -> None:
    path.write_bytes(data)
    with pytest.raises(SrkdError, match=message) as error:
        read_image(path)
    assert "\n" not in str(error.value)


JPEGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "subsampled": {"subsampling": 2},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "optimised": {"optimize": True},
}


@pytest.mark.parametrize("kind", JPEGS)
def test_complete_jpegs_are_read(tmp_path: Path, kind: str) -> None:
    flat = np.full((40, 56, 3), 128, np.uint8)  # as libjpeg fills missing data
    for pixels in (textured(0, 61, 83), textured(1, 61, 83)[..., 0], flat, np.zeros_like(flat)):
        data = jpeg(pixels, **JPEGS[kind])
        for trailer in (b"", b"\xff\xd8" + bytes(99), b"anything"):
            (tmp_path / "a.jpg").write_bytes(data + trailer)
            read = read_image(tmp_path / "a.jpg").pixels
            expected = np.asarray(Image.open(io.BytesIO(data)))
            np.testing.assert_array_equal(read.squeeze(), expected)


@pytest.mark.parametrize("kind", JPEGS)
def test_truncated_jpegs_raise(tmp_path: Path, kind: str) -> None:
    data = jpeg(textured(0, 61, 83), **JPEGS[kind])
    begin = scan(data)
    for part in (0.1, 0.5, 0.9):
        cut = data[: begin + int((len(data) - begin) * part)].rstrip(b"\xff")
        rejected(tmp_path / "a.jpg", cut)
        rejected(tmp_path / "a.jpg", cut + b"\xff\xd9")  # as recovery tools and browsers do


def test_jpegs_with_data_left_over_raise(tmp_path: Path) -> None:
    data = jpeg(textured(0, 61, 83))
    middle = scan(data) + 700
    rejected(tmp_path / "a.jpg", data[:middle] + data[middle - 300 : middle] + data[middle:])
    (tmp_path / "a.jpg").write_bytes(data[:-2] + b"\xff\xff" + data[-2:])  # fill bytes are allowed
    read_image(tmp_path / "a.jpg")


def test_many_flipped_bits_of_a_jpeg_are_detected(tmp_path: Path) -> None:
    data, detected = jpeg(textured(0, 161, 183)), 0
    rng = np.random.default_rng(0)
    for at in rng.integers(scan(data), len(data) - 4000, 40):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "a.jpg").write_bytes(flipped)
        try:
            read_image(tmp_path / "a.jpg")
        except SrkdError:
            detected += 1
    assert detected >= 10  # libjpeg warns of 14, but Pillow hides its warnings


@pytest.mark.parametrize(("depth", "colour", "channels"), [(8, 0, 1), (8, 2, 3), (8, 6, 4), (16, 2, 3), (16, 0, 1)])
def test_png_streams_that_end_early_raise(tmp_path: Path, depth: int, colour: int, channels: int) -> None:
    row = 1 + 20 * channels * depth // 8
    whole = b"".join(b"\0" + bytes([i + 1]) * (row - 1) for i in range(30))
    for rows in (29, 15, 1):
        rejected(tmp_path / "a.png", png(20, 30, depth, colour, whole[: rows * row]))
    black = b"".join(b"\0" * row for _ in range(30))  # like missing rows
    for raw in (whole, black):
        (tmp_path / "a.png").write_bytes(png(20, 30, depth, colour, raw))
        assert read_image(tmp_path / "a.png").pixels.shape == (30, 20, channels)


def test_interlaced_pngs_are_complete_or_raise(tmp_path: Path) -> None:
    passes = [(3, 4), (3, 3), (3, 7), (6, 6), (5, 13), (11, 12), (10, 25)]  # rows, columns of each at 25x21
    raw = b"".join((b"\0" + bytes([9 * i + 9]) * columns) * rows for i, (rows, columns) in enumerate(passes))
    interlaced = png(25, 21, 8, 0, raw, interlaced=True)
    (tmp_path / "a.png").write_bytes(interlaced)
    expected = cv2.imdecode(np.frombuffer(interlaced, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels[..., 0], expected)
    rejected(tmp_path / "a.png", png(25, 21, 8, 0, raw[:-26], interlaced=True))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_all_16_bits_of_every_png_are_read(tmp_path: Path, colour: int, channels: int, interlaced: bool) -> None:
    rng = np.random.default_rng(colour)
    sizes = [(3, 4), (3, 3), (3, 7), (6, 6), (5, 13), (11, 12), (10, 25)] if interlaced else [(21, 25)]
    rows = [columns for count, columns in sizes for _ in range(count)]
    raw = b"".join(bytes([rng.integers(5)]) + rng.bytes(2 * channels * columns) for columns in rows)  # all filters
    data = png(25, 21, 16, colour, raw, interlaced=interlaced)
    (tmp_path / "a.png").write_bytes(data)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).reshape(21, 25, -1)
    order = {1: [0], 2: [0, 3], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]  # OpenCV expands grey with alpha
    found = read_image(tmp_path / "a.png").pixels
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected[..., order])


def test_corrupt_chunks_of_pngs_besides_their_pixels(tmp_path: Path) -> None:
    raw = b"\0\x07\x08\x09"
    whole = png(1, 1, 8, 2, raw, (b"tEXt", b"Title\0x"))
    bad = bytearray(whole)
    bad[bad.index(b"Title")] ^= 1
    (tmp_path / "a.png").write_bytes(bad)
    assert read_image(tmp_path / "a.png").notes == ("its tEXt chunk is corrupt and was left out",)
    (tmp_path / "a.png").write_bytes(whole[:-12])
    assert read_image(tmp_path / "a.png").notes == ("the file is truncated after its pixels",)
    rejected(tmp_path / "a.png", png(1, 1, 8, 3, b"\0\0"), "its palette is missing")
    rejected(tmp_path / "a.png", png(1, 1, 8, 2, raw, (b"ABCD", b"")), "a chunk ABCD that is not supported")
    flipped = bytearray(whole)
    flipped[flipped.index(b"IDAT") + 6] ^= 1
    rejected(tmp_path / "a.png", bytes(flipped), "its IDAT chunk")


def test_a_png_with_large_text_is_read(tmp_path: Path) -> None:
    text = b"workflow\0\0" + zlib.compress(b"a" * (2 << 20))
    data = png(1, 1, 8, 2, b"\0\7\7\7", (b"zTXt", text), (b"iCCP", b"p\0\0" + zlib.compress(b"b" * (2 << 20))))
    (tmp_path / "a.png").write_bytes(data)
    metadata = read_image(tmp_path / "a.png").metadata
    assert text in metadata.png_text and metadata.icc == b"b" * (2 << 20)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_grey_of_every_depth(tmp_path: Path, depth: int) -> None:
    values = np.arange(16) % (1 << min(depth, 8))
    bits = "".join(f"{v:0{depth}b}" for v in values)
    raw = b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    key = 1 if depth == 1 else 2
    (tmp_path / "a.png").write_bytes(png(16, 1, depth, 0, raw, (b"tRNS", struct.pack(">H", key))))
    pixels = read_image(tmp_path / "a.png").pixels
    most = np.iinfo(pixels.dtype).max
    np.testing.assert_array_equal(pixels[0, :, 0], values * (most // ((1 << depth) - 1)))
    np.testing.assert_array_equal(pixels[0, :, 1], np.where(values == key, 0, most))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_orientation_of_pngs_before_and_after_the_pixels(tmp_path: Path, orientation: int, before: bool) -> None:
    pixels = textured(0, 5, 7)
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    chunk = (b"eXIf", exif_block(orientation).removeprefix(b"Exif\0\0"))
    (tmp_path / "a.png").write_bytes(png(7, 5, 8, 2, raw, *[chunk] * before, after=[chunk] * (not before)))
    read = read_image(tmp_path / "a.png").pixels
    np.testing.assert_array_equal(read, turned(pixels, orientation))
    assert image_size(tmp_path / "a.png") == read.shape[:2]


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The image turned upright, by the positions of the first row and column in Exif 3.0."""
    flipped = {
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels),
    }
    return flipped.get(orientation, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("codec", ["lzw", "zlib", "none", "packbits"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_orientation_of_tiffs_of_every_codec(tmp_path: Path, codec: str, dtype: type, orientation: int) -> None:
    pixels = textured(0, 12, 20).astype(dtype) * (257 if dtype == np.uint16 else 1)
    path = tmp_path / "a.tif"
    if codec in ("lzw", "packbits"):
        code = {"lzw": 5, "packbits": 32773}[codec]
        cv2.imwrite(str(path), pixels[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, code])
    else:
        tifffile.imwrite(path, pixels, photometric="rgb", compression=None if codec == "none" else codec)
    path.write_bytes(with_tag(path.read_bytes(), 274, struct.pack("<HHIHH", 274, 3, 1, orientation, 0)))
    read = read_image(path).pixels
    np.testing.assert_array_equal(read, turned(pixels, orientation))
    assert image_size(path) == read.shape[:2]


def with_tag(data: bytes, tag: int, entry: bytes) -> bytes:
    """A little-endian TIFF with a new first directory at its end, in which one entry is replaced."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    entries = [data[at + 2 + 12 * i : at + 14 + 12 * i] for i in range(count)]
    entries = sorted([e for e in entries if struct.unpack("<H", e[:2])[0] != tag] + [entry], key=lambda e: e[1::-1])
    data += bytes(len(data) % 2)
    head = data[:4] + struct.pack("<I", len(data)) + data[8:]
    return head + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize("codec", [None, "zlib"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_sparse_and_short_tiffs_raise(tmp_path: Path, codec: str | None, dtype: type) -> None:
    path = tmp_path / "a.tif"
    pixels = textured(0, 40, 20).astype(dtype)
    tifffile.imwrite(path, pixels, photometric="rgb", compression=codec, rowsperstrip=10)
    whole = path.read_bytes()
    np.testing.assert_array_equal(read_image(path).pixels, pixels)
    with tifffile.TiffFile(path) as tif:
        offsets, sizes = (tif.pages.first.tags[tag] for tag in (273, 279))
    for tag in (offsets, sizes):
        sparse = bytearray(whole)
        sparse[tag.valueoffset + 4 : tag.valueoffset + 8] = bytes(4 if tag.dtype != 3 else 2)
        rejected(path, bytes(sparse), "strips or tiles are missing")
    if codec is None:
        rejected(path, with_tag(whole, 256, struct.pack("<HHII", 256, 4, 1, 30)), "is too short")


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_tiffs_of_odd_depths_are_scaled(tmp_path: Path, bits: int) -> None:
    values = np.random.default_rng(0).integers(0, 1 << bits, (4, 8))
    packed = "".join(f"{v:0{bits}b}" for v in values.ravel())
    data = int(packed, 2).to_bytes(len(packed) // 8, "big")
    (tmp_path / "a.tif").write_bytes(raw_tiff(data, bits, 8, 4))
    expected = np.rint(values * 65535 / ((1 << bits) - 1))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels[..., 0], expected)
    packed = "".join(f"{v:0{9}b}" for v in values.ravel() % 512)
    (tmp_path / "a.tif").write_bytes(raw_tiff(int(packed, 2).to_bytes(36, "big"), 9, 8, 4))
    with pytest.raises(SrkdError, match="9-bit samples; convert it"):
        read_image(tmp_path / "a.tif")


def raw_tiff(data: bytes, bits: int, width: int, height: int, *more: tuple[int, int, int, bytes]) -> bytes:
    def short(value: int) -> bytes:
        return struct.pack("<H", value)

    entries = [
        (256, 3, 1, short(width)),
        (257, 3, 1, short(height)),
        (258, 3, 1, short(bits)),
        (259, 3, 1, short(1)),
        (262, 3, 1, short(1)),
        (277, 3, 1, short(1)),
        (278, 3, 1, short(height)),
        (273, 4, 1, struct.pack("<I", 8)),
        (279, 4, 1, struct.pack("<I", len(data))),
    ]
    data += bytes(len(data) % 2)
    at = 8 + len(data)
    return b"II*\0" + struct.pack("<I", at) + data + directory([*entries, *more], at)


def test_tiff_of_opencv_with_alpha(tmp_path: Path) -> None:
    rgba = np.dstack([textured(0, 9, 11), textured(1, 9, 11)[..., :1]])
    for pixels in (rgba, rgba.astype(np.uint16) * 257):
        cv2.imwrite(str(tmp_path / "a.tif"), pixels[..., [2, 1, 0, 3]])
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, pixels)


def test_an_implausible_resolution_is_dropped(tmp_path: Path) -> None:
    most = struct.pack("<II", 2**32 - 1, 1)
    (tmp_path / "a.tif").write_bytes(raw_tiff(bytes(6), 8, 3, 2, (282, 5, 1, most), (283, 5, 1, most)))
    image = read_image(tmp_path / "a.tif")
    assert image.metadata.dpi is None
    assert image.notes == ("its resolution is not plausible and was left out",)
    in_words = b"300 dpi\0"
    (tmp_path / "a.tif").write_bytes(raw_tiff(bytes(6), 8, 3, 2, (282, 2, 8, in_words), (283, 2, 8, in_words)))
    assert read_image(tmp_path / "a.tif").metadata.dpi is None


@pytest.mark.parametrize(
    ("suffix", "format"),
    [
        ("gif", "GIF"),
        ("avif", "AVIF"),
        ("jp2", "JPEG2000"),
        ("ppm", "PPM"),
        ("tga", "TGA"),
        ("jfif", "JPEG"),
        ("apng", "PNG"),
    ],
)
def test_formats_that_are_only_read(tmp_path: Path, suffix: str, format: str) -> None:
    if format not in Image.registered_extensions().values():
        pytest.skip(f"this Pillow does not support {format}")
    path = tmp_path / f"a.{suffix}"
    options = {"JPEG2000": {"irreversible": False}, "AVIF": {"quality": 100}, "JPEG": {"quality": 100}}.get(format, {})
    image = Image.fromarray(textured(0, 20, 24))
    image.quantize(64).save(path, format) if format == "GIF" else image.save(path, format, **options)
    with Image.open(path) as stored:
        expected = np.asarray(stored.convert("RGB"))
    np.testing.assert_array_equal(read_image(path).pixels, expected)
    assert image_size(path) == (20, 24)


@pytest.mark.parametrize("transparent", [{}, {"transparency": 9}])
def test_what_the_frame_of_a_gif_leaves_free_is_transparent(tmp_path: Path, transparent: dict[str, int]) -> None:
    frame = Image.fromarray(textured(0, 6, 8)).quantize(16)
    parts = GifImagePlugin.getdata(frame, (5, 3), include_color_table=True, duration=0, **transparent)
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + struct.pack("<HH", 20, 10) + bytes(3) + b"".join(parts) + b";")
    pixels = read_image(tmp_path / "a.gif").pixels
    assert pixels.shape == (10, 20, 4)
    frame, _ = next(gif.open_file(tmp_path / "a.gif").frames())
    np.testing.assert_array_equal(pixels[..., 3], frame[..., 3])
    np.testing.assert_array_equal(pixels[frame[..., 3] > 0], frame[frame[..., 3] > 0])
    assert pixels[0, 0].tolist() == [0, 0, 0, 0] and (pixels[..., 3] == 255).any()


def test_deep_formats_that_are_only_read(tmp_path: Path) -> None:
    deep = textured(0, 70, 80).astype(np.uint16) * 255 + 7
    cv2.imwrite(str(tmp_path / "a.jp2"), deep[..., ::-1], [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    cv2.imwrite(str(tmp_path / "a.ppm"), deep[..., ::-1])
    for name in ("a.jp2", "a.ppm"):
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, deep)
    (tmp_path / "b.pgm").write_bytes(b"P5 # a comment\n2 1\n1023\n" + struct.pack(">2H", 1023, 512))
    assert read_image(tmp_path / "b.pgm").pixels.tolist() == [[[65535], [32800]]]
    (tmp_path / "b.pgm").write_bytes(b"P5 2 2 1023\n" + struct.pack(">2H", 1023, 512))
    with pytest.raises(SrkdError, match=TRUNCATED):
        read_image(tmp_path / "b.pgm")


def test_a_note_states_that_avif_loses_depth(tmp_path: Path) -> None:
    if ".avif" not in Image.registered_extensions() or not cv2.haveImageWriter("a.avif"):
        pytest.skip("AVIF is not supported here")
    pixels = textured(0, 64, 64)
    for depth, stored in ((8, pixels), (10, pixels.astype(np.uint16) * 4)):
        cv2.imwrite(str(tmp_path / "a.avif"), stored, [cv2.IMWRITE_AVIF_DEPTH, depth])
        assert read_image(tmp_path / "a.avif").notes == ("more than 8 bits rounded to 8",) * (depth > 8)


def test_unsupported_files_are_not_called_corrupt(tmp_path: Path) -> None:
    head = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 2, 0, 16, 0, 0, 4, 4)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 86, 0, 0, 70) + head + bytes(32))
    with pytest.raises(SrkdError, match=r"a\.bmp: Unsupported BMP pixel depth"):
        read_image(tmp_path / "a.bmp")


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("top_down", [False, True])
def test_bmp_with_masks(tmp_path: Path, bits: int, top_down: bool) -> None:
    widths = (4, 5, 3, 4) if bits == 16 else (10, 8, 6, 8)
    rng = np.random.default_rng(0)
    planes = [rng.integers(0, 1 << width, (3, 5)) for width in widths]
    stored, masks, shift = np.zeros((3, 5), np.int64), [], 0
    for plane, width in zip(planes, widths, strict=True):
        masks.append(((1 << width) - 1) << shift)
        stored |= plane << shift
        shift += width
    rows = [row.astype(f"<u{bits // 8}").tobytes() for row in (stored if top_down else stored[::-1])]
    pixels = b"".join(row + bytes(-len(row) % 4) for row in rows)
    height = -3 if top_down else 3
    head = struct.pack("<IiiHHIIiiII", 56, 5, height, 1, bits, 3, len(pixels), 11811, 5906, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 70 + len(pixels), 0, 0, 70) + head + struct.pack("<4I", *masks) + pixels
    (tmp_path / "a.bmp").write_bytes(data)
    image = read_image(tmp_path / "a.bmp")
    expected = [np.floor(plane * 255 / ((1 << width) - 1) + 0.5) for plane, width in zip(planes, widths, strict=True)]
    np.testing.assert_array_equal(image.pixels, np.stack(expected, -1))
    assert image_size(tmp_path / "a.bmp") == (3, 5) and image.metadata.dpi == pytest.approx((300, 150), rel=1e-3)
    rejected(tmp_path / "a.bmp", data[:-1])


def test_a_bmp_of_os2_whose_first_pixels_look_like_masks(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 3), 5, np.uint8)
    pixels[-1, 0, 0], pixels[-1, 1, 1] = 16, 3  # where a longer header has the depth and the compression
    head = struct.pack("<IHHI", 26 + 48, 0, 0, 26) + struct.pack("<IHHHH", 12, 4, 4, 1, 24)
    (tmp_path / "a.bmp").write_bytes(b"BM" + head + pixels[::-1, :, ::-1].tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp").pixels, pixels)
    assert image_size(tmp_path / "a.bmp") == (4, 4)


def test_alpha_of_a_bmp(tmp_path: Path) -> None:
    rgba = np.dstack([textured(0, 9, 11), textured(1, 9, 11)[..., :1]])
    write_image(tmp_path / "a.bmp", ImageData(rgba))
    np.testing.assert_array_equal(read_image(tmp_path / "a.bmp").pixels, rgba)
    with Image.open(tmp_path / "a.bmp") as image:
        np.testing.assert_array_equal(np.asarray(image), rgba)


def test_big_endian_bigtiff(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        pixels = np.dstack([textured(0, 9, 11)] * 2)[..., :4].astype(dtype)
        tifffile.imwrite(
            tmp_path / "a.tif",
            pixels,
            photometric="rgb",
            bigtiff=True,
            byteorder=">",
            extrasamples=["unassalpha"],
            extratags=[(274, 3, 1, 6, True)],
        )
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, np.rot90(pixels, -1))


ODD = {
    "tiff without tags": tiff_block([(256, 3, 1, b"\1\0")]),
    "jpeg without frame": b"\xff\xd8\xff\xd9",
    "bigtiff": b"II+\0\x08\0\0\0" + bytes(8),
    "webp": b"RIFF\x10\0\0\0WEBPVP8 " + bytes(8),
    "bmp": b"BM" + bytes(60),
    "ppm": b"P6 0 0 255\n",
    "gif": b"GIF89a" + bytes(20),
    "jpeg 2000": b"\xff\x4f\xff\x51" + bytes(60),
}


@pytest.mark.parametrize("kind", ODD)
def test_every_error_of_a_decoder_is_one_line(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.png").write_bytes(ODD[kind])
    for read in (read_image, image_size):
        with pytest.raises(SrkdError) as error:
            read(tmp_path / "a.png")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_large_images_are_converted_in_bands(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(textured(0, 61, 83)).convert("RGBA" if mode in ("LA", "RGBA") else "RGB").convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    whole, note = decoders.samples(image.copy())
    monkeypatch.setattr(decoders, "_BAND_BYTES", 83 * 4 * 7)
    pixels, same = decoders.samples(image)
    assert same == note and pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, whole)
