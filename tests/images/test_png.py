"""The PNG writer against another decoder."""

from __future__ import annotations

import io
import sys

import cv2
import numpy as np
import pytest

from srkd.images.metadata import Metadata
from srkd.images.png import PngWriter
from support import textured


def encoded(pixels: np.ndarray, block: int) -> bytes:
    stream = io.BytesIO()
    writer = PngWriter(stream, *pixels.shape, pixels.dtype, Metadata())
    for start in range(0, len(pixels), block):
        writer.write(pixels[start : start + block])
    writer.finish()
    return stream.getvalue()


@pytest.mark.parametrize("fast", [True, False], ids=["isal", "zlib"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_another_decoder_reads_the_same_pixels(fast: bool, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    if fast:
        pytest.importorskip("isal")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    pixels = textured(0, 301, 400).astype(dtype) * (257 if dtype == np.uint16 else 1)
    for block in (7, 301):
        read = cv2.imdecode(np.frombuffer(encoded(pixels, block), np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(read[..., ::-1], pixels)
