"""Animations: frames as browsers compose them, durations, plays, transparency, limits, and memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srkd.errors import SrkdError
from srkd.images import animation, apng, gif, png
from srkd.images.animation import is_animation, open_animation, open_animation_writer
from srkd.images.formats import FORMATS
from srkd.images.metadata import Metadata
from srkd.images.read import ImageData, write_image
from support import textured

DURATIONS = tuple(Fraction(n, 100) for n in (10, 5, 0, 200))
NAMES = ("gif", "png", "webp")


def moving(count: int = 4, alpha: bool = True) -> list[np.ndarray]:
    """Few colours; a square moves over pixels that are transparent, or black without alpha."""
    frames = []
    for number in range(count):
        frame = np.zeros((17, 23, 4), np.uint8)
        frame[..., 3] = 0 if alpha else 255
        frame[3 + number : 9 + number, 2 + 2 * number : 8 + 2 * number] = (200, 40 * (number % 4), 7, 255)
        frames.append(frame if alpha else frame[..., :3].copy())
    return frames


def write(path: Path, frames: Sequence[np.ndarray], plays: int = 0, **options: object) -> Path:
    timing = [DURATIONS[n % 4] for n in range(len(frames))], plays
    with open_animation_writer(path, frames[0].shape, timing, path.suffix[1:], **options) as writer:  # type: ignore[arg-type]
        for frame in frames:
            writer.write(frame)
    return path


@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize("plays", [0, 1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_frames_durations_and_plays_are_kept(tmp_path: Path, name: str, plays: int, alpha: bool) -> None:
    frames = moving(alpha=alpha)
    path = write(tmp_path / f"a.{name}", frames, plays, quality=100)
    assert is_animation(path)
    found = open_animation(path)
    assert found is not None and (found.format, found.height, found.width, found.channels) == (
        name,
        17,
        23,
        4 if alpha else 3,
    )
    assert found.durations == DURATIONS and found.plays == plays
    for expected, frame in zip(frames, found.frames(), strict=True):
        np.testing.assert_array_equal(frame, expected)
    with Image.open(path) as image:  # another reader
        for number, expected in enumerate(frames):
            image.seek(number)
            rgba = np.asarray(image.convert("RGBA"))
            np.testing.assert_array_equal(rgba[..., 3] > 0, expected[..., -1] > 0 if alpha else True)
            shown = rgba[..., 3] > 0
            np.testing.assert_array_equal(rgba[..., :3][shown], expected[..., :3][shown])
        assert image.n_frames == 4  # type: ignore[attr-defined]


def gif_of(frames: Sequence[tuple[tuple[int, int, int, int], int, int | None, int]]) -> bytes:
    """A GIF of 6x5 pixels; each frame is (left, top, width, height), palette index, transparent index, disposal."""
    data = b"GIF89a" + struct.pack("<HHBBB", 6, 5, 0x91, 1, 0) + bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    for (left, top, width, height), index, transparent, disposal in frames:
        image = Image.new("P", (width, height), index)
        image.putpalette(bytes(12))
        flags = disposal << 2 | (transparent is not None)
        data += b"!\xf9\x04" + struct.pack("<BHB", flags, 7, transparent or 0) + b"\0"
        data += b"".join(gif.GifImagePlugin.getdata(image, (left, top)))
    return data + b";"


def test_gif_is_composed_as_in_a_browser(tmp_path: Path) -> None:
    """What was never drawn is transparent; disposal 2 clears the frame's box, 3 restores what was below."""
    red, green, blue = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255)
    (tmp_path / "a.gif").write_bytes(
        gif_of(
            [
                ((1, 1, 3, 3), 1, None, 1),  # red, stays
                ((2, 2, 4, 2), 2, None, 3),  # green, is undone
                ((0, 0, 2, 2), 3, None, 2),  # blue, is cleared
                ((4, 4, 2, 1), 2, 2, 1),  # nothing but transparent pixels
            ]
        )
    )
    first = np.zeros((5, 6, 4), np.uint8)
    first[1:4, 1:4] = red
    second, third, fourth = first.copy(), first.copy(), first.copy()
    second[2:4, 2:6] = green
    third[:2, :2] = blue
    fourth[:2, :2] = 0
    found = open_animation(tmp_path / "a.gif")
    assert found is not None and found.plays == 1
    for expected, frame in zip([first, second, third, fourth], found.frames(), strict=True):
        np.testing.assert_array_equal(frame, expected)


def test_apng_is_composed_as_pillow_does(tmp_path: Path) -> None:
    """With alpha of 0 and 255: Pillow mixes other alphas linearly, and restores the frame before, against the
    specification, by which here each frame is alone after disposal 2, since the first is cleared."""
    masks = [np.where(textured(n + 9, 9, 12)[..., :1] > 127, 255, 0).astype(np.uint8) for n in range(4)]
    images = [Image.fromarray(np.dstack([textured(n, 9, 12), mask])) for n, mask in enumerate(masks)]
    for blend in (0, 1):
        for disposal in (0, 1, 2):
            images[0].save(
                tmp_path / "a.png",
                save_all=True,
                append_images=images[1:],
                duration=[100, 33, 50, 20],
                disposal=disposal,
                blend=blend,
                loop=2,
            )
            found = open_animation(tmp_path / "a.png")
            assert found is not None and found.plays == 2 and found.durations[1] == Fraction(33, 1000)
            with Image.open(tmp_path / "a.png") as image:
                for number, frame in enumerate(found.frames()):
                    image.seek(number)
                    expected = np.asarray(images[number] if disposal == 2 else image.convert("RGBA"))
                    np.testing.assert_array_equal(frame[..., 3], expected[..., 3])
                    visible = frame[..., 3] > 0
                    np.testing.assert_array_equal(frame[visible], expected[visible])


def test_apng_blends_as_alpha_compositing() -> None:
    source, below = (np.dstack([textured(n, 9, 12), textured(n + 9, 9, 12)[..., :1]]) for n in range(2))
    expected = np.asarray(Image.alpha_composite(Image.fromarray(below), Image.fromarray(source))).astype(int)
    assert np.abs(apng._over(source, below) - expected)[expected[..., 3] > 20].max() <= 2


def test_a_still_image_is_no_animation(tmp_path: Path) -> None:
    pixels = textured(0, 9, 12)
    for name in ("a.gif", "a.png", "a.webp"):
        write_image(tmp_path / name, ImageData(pixels))
        assert not is_animation(tmp_path / name) and open_animation(tmp_path / name) is None
    write(tmp_path / "b.png", [pixels])  # APNG with one frame
    assert not is_animation(tmp_path / "b.png")
    (tmp_path / "c.gif").write_bytes(b"GIF89a")
    assert not is_animation(tmp_path / "c.gif") and open_animation(tmp_path / "c.gif") is None


def test_metadata_of_animations(tmp_path: Path) -> None:
    given = Metadata(exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(6), dpi=(72, 72), comment=b"words")
    for name, kept in (("png", {"exif", "dpi"}), ("webp", {"exif"}), ("gif", {"comment"})):
        found = open_animation(write(tmp_path / f"a.{name}", moving(), metadata=given))
        assert found is not None
        assert {key for key in ("exif", "dpi", "comment") if getattr(found.metadata, key)} == kept


def test_many_colours_are_reduced_well_and_still_areas_do_not_flicker(tmp_path: Path) -> None:
    y, x = np.mgrid[:48, :64]
    still = np.stack([4 * x, 5 * y, 2 * (x + y)], -1).astype(np.uint8)
    frames = [still.copy() for _ in range(3)]
    for number, frame in enumerate(frames):
        frame[10:20, 5 + 8 * number : 15 + 8 * number] = 255 - frame[10:20, 5 + 8 * number : 15 + 8 * number]
    found = open_animation(write(tmp_path / "a.gif", frames))
    assert found is not None
    shown = list(found.frames())
    for expected, frame in zip(frames, shown, strict=True):
        assert np.abs(expected.astype(int) - frame).mean() < 6
    np.testing.assert_array_equal(shown[0][25:], shown[2][25:])
    assert all(len(np.unique(frame.reshape(-1, 3), axis=0)) > 200 for frame in shown)


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.97, 0.6])
def test_a_truncated_animation_raises_one_line(tmp_path: Path, name: str, share: float) -> None:
    whole = write(tmp_path / f"a.{name}", [textured(n, 20, 30) for n in range(6)])
    whole.write_bytes(cut(whole.read_bytes(), share))
    with pytest.raises(SrkdError, match=r"truncated|corrupt") as error:
        found = open_animation(whole)
        assert found is None
        from srkd.images.read import read_image

        read_image(whole)  # of a file that is too damaged to be an animation
    assert "\n" not in str(error.value)


def test_a_false_number_of_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", moving())
    data = path.read_bytes()
    at = data.index(b"acTL")
    for count, words in ((9, "4 of 9 frames"), (2**32 - 1, "more than the limit of 10,000,000,000 pixels in all")):
        body = b"acTL" + struct.pack(">II", count, 0)
        path.write_bytes(data[:at] + body + struct.pack(">I", zlib.crc32(body)) + data[at + 16 :])
        with pytest.raises(SrkdError, match=words) as error:
            open_animation(path)
        assert "\n" not in str(error.value)


def test_the_limit_on_all_frames_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.gif", moving())
    monkeypatch.setattr(animation, "MAX_TOTAL_PIXELS", 3 * 17 * 23)
    with pytest.raises(SrkdError, match="4 or more frames of 23x17, more than the limit of 1,173 pixels in all"):
        open_animation(path)


def test_a_frame_larger_than_memory(tmp_path: Path) -> None:
    data = gif_of([((0, 0, 6, 5), 1, None, 1)] * 2)
    at = data.rindex(b",")
    (tmp_path / "a.gif").write_bytes(data[: at + 5] + struct.pack("<HH", 65535, 65535) + data[at + 9 :])
    assert open_animation(tmp_path / "a.gif") is None  # not even two valid frames
    (tmp_path / "b.gif").write_bytes(data[:6] + struct.pack("<HH", 65535, 65535) + data[10:])
    with pytest.raises(SrkdError, match="declares 65535x65535 pixels"):
        open_animation(tmp_path / "b.gif")


@pytest.mark.parametrize("name", NAMES)
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path, name: str) -> None:
    frames = [np.full((128, 128, 3), n, np.uint8) for n in range(2)]
    peaks = []
    for count in (20, 200):
        timing = [Fraction(1, 25)] * count, 0
        tracemalloc.start()
        with open_animation_writer(tmp_path / f"a.{name}", (128, 128, 3), timing, name) as writer:
            for number in range(count):
                writer.write(frames[number % 2])
        found = open_animation(tmp_path / f"a.{name}")
        assert found is not None and sum(1 for _ in found.frames()) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 20 * frames[0].nbytes  # not 180 frames more


def test_16_bits_and_an_image_outside_of_the_animation(tmp_path: Path) -> None:
    """A default image that is not a frame, then two frames of 16 bits."""
    deep = [textured(n, 5, 6).astype(np.uint16) * 257 for n in range(3)]

    def pixels(frame: np.ndarray) -> bytes:
        return zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in frame))

    def control(number: int) -> bytes:
        return png.chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 6, 5, 0, 0, 1, 0, 0, 0))

    data = png.SIGNATURE + png.chunk(b"IHDR", struct.pack(">IIBBBBB", 6, 5, 16, 2, 0, 0, 0))
    data += png.chunk(b"acTL", struct.pack(">II", 2, 0)) + png.chunk(b"IDAT", pixels(deep[0]))
    for number in (1, 2):
        data += control(2 * number - 2) + png.chunk(b"fdAT", bytes([0, 0, 0, 2 * number - 1]) + pixels(deep[number]))
    (tmp_path / "a.png").write_bytes(data + png.chunk(b"IEND", b""))
    found = open_animation(tmp_path / "a.png")
    assert found is not None and found.notes == ("16 bits rounded to 8",)
    assert found.durations == (Fraction(1, 100),) * 2  # a unit of 0 is 100
    for number, frame in enumerate(found.frames()):
        np.testing.assert_array_equal(frame, textured(number + 1, 5, 6))


def test_lossless_webp_animations_are_recognised(tmp_path: Path) -> None:
    for quality in (100, 90):
        found = open_animation(write(tmp_path / "a.webp", moving(), quality=quality))
        assert found is not None and found.lossless is (quality == 100)


def test_formats_that_store_animations() -> None:
    assert {known.name for known in FORMATS.values() if known.animated} == set(NAMES)
    stream = io.BytesIO()
    Image.new("P", (3, 3)).save(stream, "GIF")
    assert stream.getvalue().startswith(b"GIF8")
