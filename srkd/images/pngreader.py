"""PNG files taken apart, so that decoders see pixels only, and what else a file says is read wherever it stands.

PNG Specification (Third Edition), W3C 2025. Every checksum is checked, and that no pixels are missing.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srkd.images import opencv
from srkd.images.inflate import inflated_length
from srkd.images.metadata import Metadata, resolution, upright_exif, upright_xmp
from srkd.images.png import SIGNATURE, chunk

Pixels = NDArray[Any]

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_FOR_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_COLOUR = {b"cHRM": 32, b"gAMA": 4, b"sRGB": 1, b"cICP": 4, b"mDCV": 24, b"cLLI": 8}
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp", (b"Raw profile type exif", b"Raw profile type APP1")
_MOST_INFLATED = 64 << 20  # of a profile or a text
# Adam7: (first row, first column, row step, column step) of each pass.
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


@dataclass
class Png:
    """The header, the other chunks that are whole, and notes on those that are not."""

    height: int
    width: int
    depth: int
    colour: int
    interlaced: bool
    others: list[tuple[bytes, bytes]] = field(default_factory=list)
    pixels: list[tuple[bytes, bytes]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def content(self, kind: bytes) -> bytes | None:
        return next((data for name, data in self.others + self.pixels if name == kind), None)


def parse(stream: BinaryIO, headers_only: bool = False) -> Png:
    """Take a file apart; with `headers_only`, without its compressed pixels.

    Raises:
        ValueError: it is no PNG file, cut, or corrupt where that concerns pixels.
    """
    if stream.read(len(SIGNATURE)) != SIGNATURE:
        raise ValueError("a PNG file whose first bytes are corrupt")
    png: Png | None = None
    ended = False
    for kind, data, good in _chunks(stream, (b"IDAT",) if headers_only else ()):
        if png is None:
            png = _header(kind, data, good)
        elif not good and kind in _FOR_PIXELS:
            raise ValueError(f"truncated or corrupt (its {_printable(kind)} chunk)")
        elif not good:
            png.notes.append(f"its {_printable(kind)} chunk is corrupt and was left out")
        elif kind in _FOR_PIXELS:
            png.pixels.append((kind, data))
        elif not kind[0] & 32:
            raise ValueError(f"has a chunk {_printable(kind)} that is not known")
        else:
            png.others.append((kind, data))
        ended = kind == b"IEND"
        if ended:
            break
    _check_complete(png, ended)
    assert png is not None
    return png


def _check_complete(png: Png | None, ended: bool) -> None:
    if png is None or not any(kind == b"IDAT" for kind, _ in png.pixels):
        raise ValueError("truncated or corrupt (it has no pixels)")
    if png.colour == 3 and png.content(b"PLTE") is None:
        raise ValueError("truncated or corrupt (its palette is missing)")
    frames = png.content(b"acTL")
    if frames is not None and int.from_bytes(frames[:4], "big") > 1:
        raise ValueError("an animation; give its frames as single images")
    if not ended:
        png.notes.append("the file is cut after its pixels")


def _chunks(stream: BinaryIO, skipped: tuple[bytes, ...]) -> Iterator[tuple[bytes, bytes, bool]]:
    """(type, content, whether the checksum holds) until the end or a cut; a cut among the pixels is an error."""
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in skipped:
            stream.seek(length + 4, 1)
            yield kind, b"", True
            continue
        data, checksum = stream.read(length), stream.read(4)
        if len(checksum) < 4:
            if kind == b"IDAT":
                raise ValueError("truncated or corrupt (it ends before the image does)")
            return
        yield kind, data, zlib.crc32(data, zlib.crc32(kind)) == int.from_bytes(checksum, "big")


def _printable(kind: bytes) -> str:
    return kind.decode("latin-1") if kind.isalpha() else kind.hex()


def _header(kind: bytes, data: bytes, good: bool) -> Png:
    if kind != b"IHDR" or len(data) != 13 or not good:
        raise ValueError("a PNG file whose header is truncated or corrupt")
    width, height, depth, colour, compression, filters, interlaced = struct.unpack(">IIBBBBB", data)
    known = depth in _DEPTHS.get(colour, ()) and not compression and not filters and interlaced < 2
    if not known or not 0 < width < 2**31 or not 0 < height < 2**31:
        raise ValueError("a PNG file whose header is corrupt")
    return Png(height, width, depth, colour, bool(interlaced), pixels=[(kind, data)])


def decoded(png: Png) -> Pixels:
    """uint8 or uint16 (H, W, C), C as in `Image`, as stored. Raises ValueError for a stream that ends early."""
    transparent = png.content(b"tRNS") if png.colour in (0, 2) else None
    kept = [(kind, data) for kind, data in png.pixels if kind != b"tRNS" or png.colour == 3]
    file = SIGNATURE + b"".join(chunk(*c) for c in kept if c[0] != b"IEND") + chunk(b"IEND", b"")
    if png.depth == 16:
        _check_stream(png)
        pixels = opencv.decode(file)
        pixels = pixels[..., [0, 3]] if png.colour == 4 else pixels  # which OpenCV expands to RGBA
    else:
        pixels = _by_pillow(file, png)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return pixels if transparent is None else _keyed(pixels, transparent, png.depth)


def _by_pillow(file: bytes, png: Png) -> Pixels:
    with Image.open(io.BytesIO(file), formats=["PNG"]) as image:
        image.load()
        last = image.crop((0, image.height - 1, image.width, image.height))
        if png.interlaced or last.getbbox() is None:  # Pillow leaves black what does not come
            _check_stream(png)
        mode = {0: "L", 2: "RGB", 3: "RGBA" if "transparency" in image.info else "RGB", 4: "LA", 6: "RGBA"}[png.colour]
        return np.asarray(image if image.mode == mode else image.convert(mode))


def _check_stream(png: Png) -> None:
    """Raise ValueError where the compressed pixels are fewer than the image has."""
    bits = png.depth * _CHANNELS[png.colour]
    expected = 0
    for top, left, down, across in _PASSES if png.interlaced else ((0, 0, 1, 1),):
        rows, columns = -(-(png.height - top) // down), -(-(png.width - left) // across)
        if rows > 0 and columns > 0:
            expected += rows * (1 + (columns * bits + 7) // 8)
    found = inflated_length((data for kind, data in png.pixels if kind == b"IDAT"), expected)
    if found < expected:
        raise ValueError(f"truncated or corrupt (its pixels end after {found / expected:.0%})")


def _keyed(pixels: Pixels, transparent: bytes, depth: int) -> Pixels:
    """With an alpha channel that is 0 where a pixel has the colour declared transparent."""
    most = np.iinfo(pixels.dtype).max
    key = np.frombuffer(transparent[: 2 * pixels.shape[2]], ">u2").astype(np.int64) & ((1 << depth) - 1)
    if len(key) != pixels.shape[2]:
        return pixels
    hidden = (pixels == key * most // ((1 << depth) - 1)).all(-1, keepdims=True)
    return np.concatenate([pixels, np.where(hidden, 0, most).astype(pixels.dtype)], axis=-1)


def metadata_of(png: Png) -> tuple[int, Metadata, tuple[str, ...]]:
    """(EXIF orientation, metadata, notes), from chunks before and after the pixels."""
    notes = list(png.notes)
    exif, xmp, text = png.content(b"eXIf"), None, []
    for kind, data in png.others:
        keyword = data.partition(b"\0")[0]
        if kind not in _TEXT:
            continue
        if keyword == _XMP and kind == b"iTXt":
            xmp = xmp or _text(kind, data)
        elif keyword in _RAW_EXIF:  # as ImageMagick writes it, upright from now on
            exif = exif or _raw_profile(_text(kind, data))
        else:
            text.append(chunk(kind, data))
    icc = None
    if profile := png.content(b"iCCP"):
        icc = _inflated(profile.partition(b"\0")[2][1:])
        notes += [] if icc else ["its colour profile is corrupt and was left out"]
    orientation, block, more = upright_exif(exif)
    packet, announced = upright_xmp(xmp)
    notes += [*more, *(f"its {what} was left out" for what in announced)]
    colour = {kind: data for kind, data in png.others if _COLOUR.get(kind) == len(data)}
    return (
        orientation,
        Metadata(icc, block, packet, _resolution(png.content(b"pHYs")), png_colour=colour, png_text=b"".join(text)),
        tuple(notes),
    )


def _resolution(physical: bytes | None) -> tuple[float, float] | None:
    if physical is None or len(physical) != 9 or physical[8] != 1:
        return None
    return resolution(struct.unpack(">II", physical[:8]), 0.0254)


def _inflated(data: bytes) -> bytes | None:
    inflating = zlib.decompressobj()
    try:
        result = inflating.decompress(data, _MOST_INFLATED)
    except zlib.error:
        return None
    return result if inflating.eof else None


def _text(kind: bytes, data: bytes) -> bytes | None:
    """The text of a chunk, inflated."""
    rest = data.partition(b"\0")[2]
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        return _inflated(rest[1:])
    compressed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
    return _inflated(text) if compressed else text


def _raw_profile(text: bytes | None) -> bytes | None:
    try:
        return bytes.fromhex("".join((text or b"").decode("latin-1").split()[2:])) or None
    except ValueError:
        return None
