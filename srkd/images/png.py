"""PNG files: parsed for reading, with every checksum and the number of pixels verified, and written row by row.

The reader passes only the chunks of pixels to a decoder, and finds metadata before and after them. The writer supports
8 and 16 bits, grey or RGB, with or without alpha, in constant memory: PNG encoders of other packages need the whole
image. PNG Specification (Third Edition), W3C 2025.
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

from srkd.images import decoders
from srkd.images.metadata import Metadata, left_out, resolution, upright_exif, upright_xmp

Pixels = NDArray[Any]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
# Without isal, run lengths and Huffman codes only: on photographs 5 % larger than level 6 and 7 times faster.
_LEVEL, _STRATEGY = 1, zlib.Z_RLE
_BLOCK_BYTES = 1 << 17  # fits a core's cache: 9 % less time than 1 MB
_INCHES_PER_METRE = 1 / 0.0254
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_FOR_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_COLOUR = {b"cHRM": 32, b"gAMA": 4, b"sRGB": 1, b"cICP": 4, b"mDCV": 24, b"cLLI": 8}
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp", (b"Raw profile type exif", b"Raw profile type APP1")
_MOST_INFLATED = 64 << 20  # of a profile or a text
# Adam7: (first row, first column, row step, column step) of each pass.
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


@dataclass
class Png:
    """The header, the other intact chunks, and notes on corrupt ones."""

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


def parse(stream: BinaryIO, headers_only: bool = False, animated: bool = False) -> Png:
    """Parse a file; with `headers_only`, without its compressed pixels. Animations raise unless `animated`.

    Raises:
        ValueError: it is not a PNG file, or truncated or corrupt in a way that affects pixels.
    """
    if stream.read(len(SIGNATURE)) != SIGNATURE:
        raise ValueError("a PNG file whose first bytes are corrupt")
    png: Png | None = None
    ended = False
    for kind, data, good in chunks(stream, (b"IDAT", b"fdAT") if headers_only else ()):
        if png is None:
            png = _header(kind, data, good)
        elif not good and kind in _FOR_PIXELS:
            raise ValueError(f"truncated or corrupt (its {_printable(kind)} chunk)")
        elif not good:
            png.notes.append(f"its {_printable(kind)} chunk is corrupt and was left out")
        elif kind in _FOR_PIXELS:
            png.pixels.append((kind, data))
        elif not kind[0] & 32:
            raise ValueError(f"has a chunk {_printable(kind)} that is not supported")
        else:
            png.others.append((kind, data))
        ended = kind == b"IEND"
        if ended:
            break
    _check_complete(png, ended, animated)
    assert png is not None
    return png


def _check_complete(png: Png | None, ended: bool, animated: bool) -> None:
    if png is None or not any(kind == b"IDAT" for kind, _ in png.pixels):
        raise ValueError("truncated or corrupt (it has no pixels)")
    if png.colour == 3 and png.content(b"PLTE") is None:
        raise ValueError("truncated or corrupt (its palette is missing)")
    frames = png.content(b"acTL")
    if not animated and frames is not None and int.from_bytes(frames[:4], "big") > 1:
        raise ValueError("an animation; give its frames as single images")
    if not ended:
        png.notes.append("the file is truncated after its pixels")


def chunks(stream: BinaryIO, skipped: tuple[bytes, ...] = ()) -> Iterator[tuple[bytes, bytes, bool]]:
    """(type, content, whether the checksum is right), up to the end of the file; raises if that is within pixels."""
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in skipped:
            stream.seek(length + 4, 1)
            yield kind, b"", True
            continue
        data, checksum = stream.read(length), stream.read(4)
        if len(checksum) < 4:
            if kind in (b"IDAT", b"fdAT"):
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
    """uint8 or uint16 (H, W, C), C as in `ImageData`, as stored. Raises ValueError for a stream that ends early."""
    transparent = png.content(b"tRNS") if png.colour in (0, 2) else None
    kept = [(kind, data) for kind, data in png.pixels if kind != b"tRNS" or png.colour == 3]
    if png.depth == 16:
        _check_stream(png)
        pixels = _deep_by_pillow(kept, png)
    else:
        pixels = _by_pillow(_file(kept), png)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return pixels if transparent is None else _keyed(pixels, transparent, png.depth)


def _file(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return SIGNATURE + b"".join(chunk(*c) for c in chunks if c[0] != b"IEND") + chunk(b"IEND", b"")


def _deep_by_pillow(chunks: list[tuple[bytes, bytes]], png: Png) -> Pixels:
    """Samples of 16 bits (H, W, C), which Pillow would reduce to 8.

    One or two samples are decoded as twice as many of 8 bits: their rows have the same bytes and the same filters.
    Three and four are decoded twice, to their high and to their low bytes.
    """
    channels = _CHANNELS[png.colour]
    if channels <= 2:
        colour = {1: 4, 2: 6}[channels]  # of two, and of four samples
        header = struct.pack(">IIBBBBB", png.width, png.height, 8, colour, 0, 0, png.interlaced)
        bytewise = _decoded_by_pillow(_file([(b"IHDR", header), *chunks[1:]]), None)
        return np.ascontiguousarray(bytewise).view(">u2").astype(np.uint16)
    mode = "RGB" if channels == 3 else "RGBA"
    high, low = (_decoded_by_pillow(_file(chunks), f"{mode};16{order}") for order in "BL")
    return high.astype(np.uint16) << 8 | low


def _decoded_by_pillow(file: bytes, raw_mode: str | None) -> Pixels:
    """The bytes that Pillow decodes, with its unpacking of samples replaced by `raw_mode`."""
    with Image.open(io.BytesIO(file), formats=["PNG"]) as image:
        if raw_mode is not None:
            tiles: Any = [(*tile[:3], raw_mode) for tile in image.tile]  # plain tuples before Pillow 11
            image.tile = tiles
        image.load()
        return np.asarray(image)


def _by_pillow(file: bytes, png: Png) -> Pixels:
    with Image.open(io.BytesIO(file), formats=["PNG"]) as image:
        image.load()
        last = image.crop((0, image.height - 1, image.width, image.height))
        if png.interlaced or last.getbbox() is None:  # Pillow leaves missing rows black
            _check_stream(png)
        mode = {0: "L", 2: "RGB", 3: "RGBA" if "transparency" in image.info else "RGB", 4: "LA", 6: "RGBA"}[png.colour]
        return np.asarray(image if image.mode == mode else image.convert(mode))


def _check_stream(png: Png) -> None:
    """Raise ValueError if the compressed data contain fewer pixels than the image."""
    bits = png.depth * _CHANNELS[png.colour]
    expected = 0
    for top, left, down, across in _PASSES if png.interlaced else ((0, 0, 1, 1),):
        rows, columns = -(-(png.height - top) // down), -(-(png.width - left) // across)
        if rows > 0 and columns > 0:
            expected += rows * (1 + (columns * bits + 7) // 8)
    found = decoders.inflated_length((data for kind, data in png.pixels if kind == b"IDAT"), expected)
    if found < expected:
        raise ValueError(f"truncated or corrupt (its pixels end after {found / expected:.0%})")


def _keyed(pixels: Pixels, transparent: bytes, depth: int) -> Pixels:
    """The pixels with an alpha channel, 0 where they have the colour that is declared transparent."""
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
        elif keyword in _RAW_EXIF:  # as ImageMagick writes it
            exif = exif or _raw_profile(_text(kind, data))
        else:
            text.append(chunk(kind, data))
    icc = None
    if profile := png.content(b"iCCP"):
        icc = _inflated(profile.partition(b"\0")[2][1:])
        notes += [] if icc else ["its colour profile is corrupt and was left out"]
    orientation, block, more = upright_exif(exif)
    packet, attached = upright_xmp(xmp)
    notes += [*more, *left_out(attached)]
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


class PngWriter:
    """Writes blocks (n, W, C) of uint8 or uint16 rows to `stream`; call `finish` after the last of `height` rows."""

    def __init__(
        self, stream: BinaryIO, height: int, width: int, channels: int, dtype: np.dtype[Any], metadata: Metadata
    ) -> None:
        self._stream = stream
        self._encoder = RowEncoder(width, channels, dtype)
        header = struct.pack(">IIBBBBB", width, height, 8 * dtype.itemsize, COLOUR_TYPE[channels], 0, 0, 0)
        stream.write(SIGNATURE + chunk(b"IHDR", header))
        stream.write(ancillary(metadata, height, width))

    def write(self, rows: NDArray[Any]) -> None:
        for data in self._encoder.encoded(rows):
            self._emit(data)

    def finish(self) -> None:
        self._emit(self._encoder.flush())
        self._stream.write(chunk(b"IEND", b""))

    def _emit(self, data: bytes) -> None:
        if data:
            self._stream.write(chunk(b"IDAT", data))


class RowEncoder:
    """Filters and compresses the rows of an image of `width` pixels."""

    def __init__(self, width: int, channels: int, dtype: np.dtype[Any]) -> None:
        self._step = channels * dtype.itemsize
        self._above = np.zeros((1, width * self._step), np.uint8)
        self._deflate = _compressor()

    def encoded(self, rows: NDArray[Any]) -> Iterator[bytes]:
        """Compressed data of rows (n, W, C) of uint8 or uint16, possibly empty."""
        block = max(1, _BLOCK_BYTES // self._above.size)
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            raw = np.ascontiguousarray(part.astype(part.dtype.newbyteorder(">"), copy=False)).view(np.uint8)
            yield self._deflate.compress(self._filtered(raw.reshape(len(part), -1)).data)

    def flush(self) -> bytes:
        """The rest of the compressed data."""
        return bytes(self._deflate.flush())

    def _filtered(self, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Each row after its filter byte: the difference to the mean of the left and upper neighbours (filter 3).

        floor((a + b) / 2) without leaving uint8 is (a & b) + ((a ^ b) >> 1).
        """
        above = np.concatenate([self._above, raw[:-1]])
        left = np.zeros_like(raw)
        left[:, self._step :] = raw[:, : -self._step]
        mean = above ^ left
        mean >>= 1
        mean += above & left
        result = np.empty((len(raw), raw.shape[1] + 1), np.uint8)
        result[:, 0] = 3
        np.subtract(raw, mean, out=result[:, 1:])
        self._above = raw[-1:].copy()
        return result


def _compressor() -> Any:
    """Intel's ISA-L if installed (extra `fast`), about 7 times faster than zlib; else zlib."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compressobj(_LEVEL, zlib.DEFLATED, 15, 9, _STRATEGY)
    return isal_zlib.compressobj(_LEVEL)


def ancillary(metadata: Metadata, height: int, width: int) -> bytes:
    """The chunks of an image's metadata."""
    return b"".join(chunk(*each) for each in _ancillary(metadata, height, width)) + metadata.png_text


def _ancillary(metadata: Metadata, height: int, width: int) -> Iterator[tuple[bytes, bytes]]:
    yield from metadata.png_colour.items()
    if metadata.icc:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)
    if metadata.dpi:
        yield b"pHYs", struct.pack(">IIB", *(min(round(d * _INCHES_PER_METRE), 2**32 - 1) for d in metadata.dpi), 1)
    exif = metadata.exif_for(height, width)
    if exif:
        yield b"eXIf", exif.removeprefix(b"Exif\0\0")
    if metadata.comment:
        yield b"tEXt", b"Comment\0" + metadata.comment.replace(b"\0", b"")
    xmp = metadata.xmp_for(height, width)
    if xmp:
        yield b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
