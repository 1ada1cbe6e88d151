"""JPEG 2000 files (ITU-T T.800): the boxes around the codestream, which carry metadata, and the codestream's encoding.

Pillow writes codestreams of 8 bits, and of 16 bits for one component only; it neither reads nor writes boxes of
metadata.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srkd.images.metadata import Metadata

Pixels = NDArray[Any]

_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # XMP Specification Part 3, 1.1.4
_EXIF = b"JpgTiffExif->JP2"  # the UUID under which ExifTool and others store EXIF
_SUPERBOXES = (b"jp2h", b"res ")
_MOST_METADATA = 64 << 20  # bytes of a box
_SOT, _COD, _SIZ = 0xFF90, 0xFF52, 0xFF51
_GREY, _SRGB = 17, 16  # enumerated colour spaces, I.5.3.3
_INCHES_PER_METRE = 1 / 0.0254


def is_jpeg2000(head: bytes) -> bool:
    return head.startswith((_SIGNATURE, _CODESTREAM))


def metadata_of(stream: BinaryIO) -> tuple[bytes | None, bytes | None, bytes | None]:
    """(the colour profile, unless the colour space is given by number; EXIF without prefix; XMP) of a file's boxes."""
    icc, exif, xmp = None, None, None
    for kind, data in _boxes(stream):
        if kind == b"colr" and data[:1] == b"\2":
            icc = icc or data[3:] or None
        elif kind == b"uuid" and data.startswith(_EXIF):
            exif = exif or data[16:] or None
        elif kind == b"uuid" and data.startswith(_XMP):
            xmp = xmp or data[16:] or None
    return icc, exif, xmp


def _boxes(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of a file's boxes, those inside superboxes too; the codestream and large boxes are left out."""
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        size = length - 8
        if length == 1:
            size = int.from_bytes(stream.read(8), "big") - 16
        if kind in _SUPERBOXES:
            continue
        if length == 0 or size < 0:  # until the end of the file, or corrupt
            return
        if kind == b"jp2c" or size > _MOST_METADATA:
            stream.seek(size, 1)
            continue
        yield kind, stream.read(size)


def is_lossless(data: bytes) -> bool:
    """Whether the reversible wavelet transform is used (A.6.1), as only lossless encoding does."""
    at = data.find(_CODESTREAM) + 2
    if at < 2:
        return False
    while at + 14 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _COD:
            return data[at + 13] == 1
        if marker == _SOT or length < 2:
            break
        at += 2 + length
    return False


def encoded(pixels: Pixels, quality: int, metadata: Metadata) -> bytes:
    """A JP2 file of uint8 or uint16 (H, W, C), C as in `ImageData`.

    At quality 100, and always with 16 bits, it is lossless; else the PSNR is at least 25 dB + quality / 4.
    """
    height, width, channels = pixels.shape
    if pixels.dtype == np.uint16:
        pixels = pixels[..., [0, 0, 0, 1]] if channels == 2 else pixels  # OpenCV does not decode grey with alpha
        codestream, bits = _deep(pixels), 16
    else:
        options = {} if quality == 100 else {"irreversible": True, "quality_mode": "dB"}
        layers = {} if quality == 100 else {"quality_layers": [25 + quality / 4]}
        codestream, bits = _by_pillow(pixels, **options, **layers), 8
    return b"".join(
        [
            _SIGNATURE,
            _box(b"ftyp", b"jp2 " + bytes(4) + b"jp2 "),
            _box(b"jp2h", _header(height, width, pixels.shape[2], bits, metadata)),
            *_metadata_boxes(metadata, height, width),
            _box(b"jp2c", codestream),
        ]
    )


def _box(kind: bytes, data: bytes) -> bytes:
    if len(data) + 8 < 1 << 32:
        return struct.pack(">I4s", len(data) + 8, kind) + data
    return struct.pack(">I4sQ", 1, kind, len(data) + 16) + data


def _header(height: int, width: int, channels: int, bits: int, metadata: Metadata) -> bytes:
    """The content of the box jp2h: image header, colour, meaning of the channels, resolution (I.5.3)."""
    colours = channels if channels in (1, 3) else channels - 1
    by_number = b"\1\0\0" + struct.pack(">I", _GREY if colours == 1 else _SRGB)
    profile = metadata.icc if metadata.icc and (metadata.icc[16:20] == b"GRAY") <= (colours == 1) else None
    parts = [
        _box(b"ihdr", struct.pack(">IIHBBBB", height, width, channels, bits - 1, 7, 0, 0)),
        _box(b"colr", b"\2\0\0" + profile if profile else by_number),
    ]
    if channels != colours:
        entries = [(c, 0, c + 1) for c in range(colours)] + [(colours, 1, 0)]  # alpha of the whole image
        parts.append(_box(b"cdef", struct.pack(">H", channels) + b"".join(struct.pack(">HHH", *e) for e in entries)))
    if metadata.dpi:
        across, down = (_rational(dots * _INCHES_PER_METRE) for dots in metadata.dpi)
        captured = struct.pack(">HHHHbb", *down[:2], *across[:2], down[2], across[2])
        parts.append(_box(b"res ", _box(b"resc", captured)))
    return b"".join(parts)


def _rational(value: float) -> tuple[int, int, int]:
    """(numerator, denominator, exponent of 10) of a positive number, in 16, 16 and 8 bits."""
    exponent = math.floor(math.log10(value))
    fraction = Fraction(value / 10**exponent).limit_denominator(6553)  # at most 10, so that the numerator fits
    return fraction.numerator, fraction.denominator, exponent


def _metadata_boxes(metadata: Metadata, height: int, width: int) -> Iterator[bytes]:
    exif, xmp = metadata.exif_for(height, width), metadata.xmp_for(height, width)
    if exif:
        yield _box(b"uuid", _EXIF + exif.removeprefix(b"Exif\0\0"))
    if xmp:
        yield _box(b"uuid", _XMP + xmp)


def _by_pillow(pixels: Pixels, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(stream, "JPEG2000", no_jp2=True, **options)
    return stream.getvalue()


def _deep(pixels: Pixels) -> bytes:
    """The lossless codestream of several 16-bit components, from one of each.

    In the progression by component (B.12.1.5) the packets of a tile are those of its components one after the other;
    the headers of components of one size and depth differ only in the number of components.
    """
    planes = [_by_pillow(pixels[..., [channel]], progression="CPRL") for channel in range(pixels.shape[2])]
    if len(planes) == 1:
        return planes[0]
    start = planes[0].index(struct.pack(">HH", _SOT, 10))
    body = start + 12 + 2  # after the markers SOT and SOD
    packets = b"".join(plane[body:-2] for plane in planes)
    length = 14 + len(packets)
    if length >= 1 << 32:
        raise ValueError("the image is too large for JPEG 2000 of 16 bits")
    component = planes[0][42:45]  # depth and subsampling, the end of SIZ (A.5.1)
    header = planes[0][:4] + struct.pack(">H", 38 + 3 * len(planes)) + planes[0][6:40]
    header += struct.pack(">H", len(planes)) + component * len(planes) + planes[0][45:start]
    tile = planes[0][start : start + 6] + struct.pack(">I", length) + planes[0][start + 10 : body]
    return header + tile + packets + b"\xff\xd9"
