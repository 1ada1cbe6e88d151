"""JPEG files: their segments and metadata, and a check that the image is complete.

JPEG has no checksum, and libjpeg fills missing data with grey. But a complete file is decoded up to its last byte: if
the decoder stops before, data are left over; if noise inserted after the data changes the pixels, data are missing.
ITU-T T.81; JFIF 1.02; CIPA DC-007 (Multi-Picture Format), 5.2.3.3.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srkd.images import ifd, photoshop
from srkd.images.metadata import Metadata, left_out, resolution, upright_exif, upright_xmp

Pixels = NDArray[Any]

_MARKER = re.compile(rb"\xff[\x01-\xfe]")  # 15 times faster than a pattern that also matches fill bytes
_EOI, _SOS, _COM = 0xD9, 0xDA, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ARITHMETIC = frozenset(range(0xC9, 0xD0))
_RESTARTS = range(0xD0, 0xD8)
_XMP, _PHOTOSHOP = b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0"
_ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1"
_NOISE = bytes(range(1, 255))[::7] * 2  # longer than a decoder's look-ahead, without a marker
_TAIL = 2  # bytes held back: some encoders write one too many
_MID_GREY = 128
_MPF, _MP_ENTRIES, _MP_ENTRY_BYTES = b"MPF\0", 0xB002, 16
_MP_KIND, _MP_PREVIEWS = 0xFFFFFF, (0x010001, 0x010002)


@dataclass(frozen=True)
class Jpeg:
    """The first image of a file, from SOI to EOI: (marker, content) of its segments, the ends of its coded data."""

    data: bytes
    segments: list[tuple[int, bytes]]
    ends: list[int]
    trailer: bytes

    @property
    def frame(self) -> int:
        return next((marker for marker, _ in self.segments if marker in _FRAMES), 0)


def parse(data: bytes) -> Jpeg:
    """Parse a file. Raises ValueError if it ends before its image does."""
    segments: list[tuple[int, bytes]] = []
    ends: list[int] = []
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.end() - 1], found.end()
        if marker in _RESTARTS and ends:
            ends.append(at := _end_of_coded(data, at))
        elif marker == _EOI:
            return Jpeg(data[:at], segments, ends, data[at:])
        elif marker != 1 and marker not in _RESTARTS:
            length = int.from_bytes(data[at : at + 2], "big")
            segments.append((marker, data[at + 2 : at + length]))
            at += max(length, 2)
            if marker == _SOS:
                ends.append(at := _end_of_coded(data, at))
    raise ValueError("truncated or corrupt (it ends before the image does)")


def _end_of_coded(data: bytes, at: int) -> int:
    """The start of the next marker, including fill bytes before it."""
    found = _MARKER.search(data, at)
    end = found.start() if found else len(data)
    while end > at and data[end - 1] == 0xFF:
        end -= 1
    return end


def decoded(jpeg: Jpeg, decode: Callable[[io.BytesIO], Pixels]) -> Pixels:
    """The result of `decode`, if the image is complete.

    Raises:
        ValueError: data or scans are missing, or data are left over.
    """
    if not jpeg.ends or jpeg.frame in _ARITHMETIC:  # whose decoder may read zeros after the end
        return decode(io.BytesIO(jpeg.data))
    _check_scans(jpeg)
    stream = _HeldBack(jpeg.data, jpeg.ends[-1] - _TAIL)
    pixels = decode(stream)
    if stream.tell() <= stream.limit:
        raise ValueError("truncated or corrupt (data are left over)")
    # If the scan of a baseline file is truncated, the last block is flat mid-grey; other files need no second pass.
    corner = np.abs(pixels[-1, -1].astype(int) - _MID_GREY).max()
    if (len(jpeg.ends) > 1 or corner <= 2) and not np.array_equal(pixels, decode(io.BytesIO(_with_noise(jpeg)))):
        raise ValueError("truncated or corrupt (its data run short)")
    return pixels


class _HeldBack(io.BytesIO):
    """A file that returns no data beyond `limit` until everything before it has been read."""

    def __init__(self, data: bytes, limit: int) -> None:
        super().__init__(data)
        self.limit = limit

    def read(self, size: int | None = -1, /) -> bytes:
        left = self.limit - self.tell()
        whole = size is None or size < 0
        return super().read((left if whole else min(size or 0, left)) if left > 0 else size)


def _with_noise(jpeg: Jpeg) -> bytes:
    parts, start = [], 0
    for end in jpeg.ends:
        parts += [jpeg.data[start:end], _NOISE]
        start = end
    return b"".join([*parts, jpeg.data[start:]])


def _check_scans(jpeg: Jpeg) -> None:
    """Raise ValueError unless every coefficient of every component is refined to its last bit by some scan."""
    frame = next((content for marker, content in jpeg.segments if marker in _FRAMES), b"")
    missing = {component: set(range(64)) for component in frame[6 : 6 + 3 * frame[5] if len(frame) > 5 else 6 : 3]}
    for scan in (content for marker, content in jpeg.segments if marker == _SOS):
        count = scan[0] if scan else 0
        if len(scan) < 4 + 2 * count:
            raise ValueError("truncated or corrupt (a scan's header is cut)")
        first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
        if jpeg.frame < 0xC2:
            first, last, bits = 0, 63, 0  # sequential: these fields have no meaning
        if bits & 15 == 0:
            for component in scan[1 : 1 + 2 * count : 2]:
                missing.get(component, set()).difference_update(range(first, last + 1))
    if any(missing.values()):
        raise ValueError("truncated or corrupt (scans are missing)")


def metadata_of(jpeg: Jpeg, image: Image.Image) -> tuple[int, Metadata, tuple[str, ...]]:
    """(EXIF orientation, metadata, notes); `image` is the file opened by Pillow, which joins the parts of profiles."""
    first: dict[bytes, bytes] = {}
    resources, comments, attached, further = b"", [], set(), 0
    for marker, content in jpeg.segments:
        for prefix in (b"Exif\0", _XMP):
            if marker == 0xE1 and content.startswith(prefix):
                first.setdefault(prefix, content[len(prefix) :])
        if marker == 0xED and content.startswith(_PHOTOSHOP):
            resources += content[len(_PHOTOSHOP) :]
        if marker == _COM:
            comments.append(content)
        if content.startswith(_ISO_GAIN_MAP):
            attached.add("gain map")
        if marker == 0xE2 and content.startswith(_MPF):
            further = _further_images(content)
    block = first.get(b"Exif\0")
    orientation, block, notes = upright_exif(b"Exif\0\0" + block[1:] if block else None)
    packet, declared = upright_xmp(first.get(_XMP))
    attached |= set(declared) | ({"video"} if b"ftyp" in jpeg.trailer[:64] else set())
    notes += left_out(sorted(attached))
    if further and "gain map" not in attached:
        notes += (f"{further} further {'image' if further == 1 else 'images'} in the file left out",)
    return (
        orientation,
        Metadata(
            image.info.get("icc_profile"),
            block,
            packet,
            resolution(image.info.get("dpi")),
            photoshop.without_thumbnails(resources) or None,
            b"\n".join(comments) or None,
        ),
        notes,
    )


def _further_images(content: bytes) -> int:
    """The number of images besides the first, without previews of it, in an APP2 segment's index."""
    try:
        first = ifd.first_directory(content.removeprefix(_MPF))
    except ValueError:
        return 0
    entries = first.tags.get(_MP_ENTRIES)
    data = entries.data if entries else b""
    starts = range(_MP_ENTRY_BYTES, len(data) - _MP_ENTRY_BYTES + 1, _MP_ENTRY_BYTES)
    return sum(struct.unpack_from(first.order + "I", data, at)[0] & _MP_KIND not in _MP_PREVIEWS for at in starts)


def save_options(metadata: Metadata, height: int, width: int) -> dict[str, Any]:
    """Pillow's options for writing metadata to a JPEG file; those that are not known are left out."""
    extra = b""
    if metadata.photoshop:
        content = _PHOTOSHOP + metadata.photoshop
        extra = b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content
    options = {
        "icc_profile": metadata.icc,
        "exif": metadata.exif_for(height, width),
        "dpi": metadata.dpi,
        "xmp": metadata.xmp_for(height, width),
        "comment": metadata.comment,
        "extra": extra,
    }
    return {key: value for key, value in options.items() if value is not None}
