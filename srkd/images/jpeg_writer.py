"""JPEG files written strip by strip, in memory that does not grow with the image.

Each strip of whole blocks is encoded by itself. Its coded data start with fresh predictions, as they do after a restart
marker, so the strips of an image, with such markers between them, are one file of the same pixels (ITU-T T.81, B.1.1.3
and E.1.4). Quality and standard Huffman tables are those of the first strip's header.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srkd.images import jpeg
from srkd.images.metadata import Metadata

_STRIP_BYTES = 2**24
_MOST_BLOCKS = 65535  # between two restart markers
_SOF, _SOS, _FIRST_RESTART = 0xC0, 0xDA, 0xD0
_END = b"\xff\xd9"


class JpegWriter:
    """Writes an image of `shape` (H, W, 1 or 3) to a stream; rows are uint8, (n, W, C)."""

    def __init__(self, stream: BinaryIO, shape: tuple[int, int, int], quality: int, metadata: Metadata) -> None:
        self._stream, self._shape = stream, shape
        full = quality >= 90
        self._options: dict[str, Any] = {"quality": quality, "subsampling": 0 if full else 2}
        self._header = jpeg.save_options(metadata, *shape[:2])
        block = 8 if full or shape[2] == 1 else 16
        self._blocks_across = -(-shape[1] // block)
        rows_of_blocks = min(_MOST_BLOCKS // self._blocks_across, _STRIP_BYTES // (block * shape[1] * shape[2]))
        height = block * max(1, rows_of_blocks)
        self._blocks = height // block * self._blocks_across
        self._strip = np.empty((min(height, shape[0]), *shape[1:]), np.uint8)
        self._filled = self._strips = 0

    def write(self, rows: NDArray[Any]) -> None:
        """Append rows."""
        while len(rows):
            taken = min(len(rows), len(self._strip) - self._filled)
            self._strip[self._filled : self._filled + taken] = rows[:taken]
            self._filled += taken
            if self._filled == len(self._strip):
                self._encode()
            rows = rows[taken:]

    def finish(self) -> None:
        """Write the last strip and the end of the file."""
        if self._filled:
            self._encode()
        self._stream.write(_END)

    def _encode(self) -> None:
        rows = self._strip[: self._filled]
        image, encoded = Image.fromarray(rows[..., 0] if self._shape[2] == 1 else rows), io.BytesIO()
        image.save(encoded, "JPEG", **self._options, **({} if self._strips else self._header))
        data = encoded.getvalue().removesuffix(_END)
        frame, scan, coded = _places(data)
        if self._strips:
            marker = bytes([0xFF, _FIRST_RESTART + (self._strips - 1) % 8])
            self._stream.write(marker + data[coded:])
        elif len(rows) == self._shape[0]:
            self._stream.write(data)
        else:
            height = self._shape[0].to_bytes(2, "big")
            interval = b"\xff\xdd\x00\x04" + self._blocks.to_bytes(2, "big")
            self._stream.write(data[: frame + 5] + height + data[frame + 7 : scan] + interval + data[scan:])
        self._filled, self._strips = 0, self._strips + 1


def _places(data: bytes) -> tuple[int, int, int]:
    """Where the frame's header, the scan's header and the coded data of a file with one scan start."""
    frame, at = 0, 2
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SOS:
            return frame, at, at + 2 + length
        frame = at if marker == _SOF else frame
        at += 2 + length
