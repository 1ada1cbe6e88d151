"""Frames of clips as RGB, and back: where chroma lies, and the range of grey."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from srkd.video import convert, read

av = pytest.importorskip("av", reason="the extra video is not installed")


def bump(centre: float, length: int, step: int = 1) -> np.ndarray:
    return np.exp(-(((np.arange(length // step) * step - centre) / 10) ** 2))


def filled(plane: Any, row: np.ndarray) -> None:
    rows = np.zeros((plane.height, plane.line_size), np.uint8)
    rows[:, : len(row)] = np.rint(row)
    plane.update(rows)


def centre(plane: Any, step: int = 1) -> float:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    row = np.clip(rows[plane.height // 2, : plane.width].astype(float) - rows.min() - 2, 0, None)
    return float((row * np.arange(len(row)) * step).sum() / row.sum())


def test_chroma_stays_with_luma_in_a_larger_image() -> None:
    """Samples of chroma lie at the left ones of luma, in H.264 and for players."""
    colour = read.Colour(5, 1, 2, 2)
    frame = av.VideoFrame(128, 32, "yuv420p")
    filled(frame.planes[0], 80 + 60 * bump(64, 128))
    filled(frame.planes[1], np.full(64, 128.0))
    filled(frame.planes[2], 128 + 50 * bump(64, 128, 2))
    frame.colorspace, frame.color_range = colour.matrix, colour.range
    clip = SimpleNamespace(
        width=128, height=32, bits=8, is_rgb=False, colour=colour, codec="h264", pixel_format="yuv420p"
    )
    pixels = convert.to_rgb(frame, clip)  # type: ignore[arg-type]
    large = np.asarray(Image.fromarray(pixels).resize((512, 128), Image.Resampling.BICUBIC))
    result = convert.from_rgb(large, colour, "yuv420p")
    assert abs(centre(result.planes[2], 2) - centre(result.planes[0])) < 0.2


def test_grey_keeps_its_range(tmp_path: Path) -> None:
    values = []
    for number, tagged in enumerate((read.FULL, 1, 0)):
        frame = av.VideoFrame(64, 48, "gray")
        filled(frame.planes[0], np.full(64, 126.0))
        frame.color_range, frame.pts, frame.time_base = tagged, 0, Fraction(1, 25)
        path = tmp_path / f"{number}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
            stream.codec_context.color_range = tagged
            container.mux([*stream.encode(frame), *stream.encode(None)])
        found = read.probe(path)
        (shown, _), *_ = read.decode(found, int(found.times[0]), found.end + 1)
        values.append(int(convert.to_rgb(shown, found).mean()))
    assert values == [126, 128, 126]


@pytest.mark.parametrize(("matrix", "full", "red"), [(1, 1, 63), (1, 2, 54), (5, 1, 81), (5, 2, 76)])
def test_luma_of_red_is_that_of_the_standards(matrix: int, full: int, red: int) -> None:
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[..., 0] = 255
    frame = convert.from_rgb(pixels, read.Colour(matrix, full, 2, 2), "yuv444p")
    assert abs(int(frame.to_ndarray()[0, 0, 0]) - red) <= 1
