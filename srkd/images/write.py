"""Writing image files row by row: PNG, TIFF, JPEG and Netpbm as a stream, other formats after the last row."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path, printable_path
from srkd.images import bmp, decoders, jpeg2000
from srkd.images.formats import FORMATS, Format, check_holds, format_named
from srkd.images.gif import GifWriter
from srkd.images.jpeg_writer import JpegWriter
from srkd.images.metadata import Metadata, fit_metadata
from srkd.images.netpbm import NetpbmWriter
from srkd.images.png import PngWriter
from srkd.images.tiff import TiffWriter

DEFAULT_QUALITY = 95
_IN_MEMORY = 64 * 2**20
_JXL_EFFORT, _LOSSLESS_JXL_EFFORT = 7, 4  # beyond 4, lossless files shrink by a few per cent in several times the time


def check_quality(quality: int | None, format: str | None = None) -> None:
    """Raise SrkdError for a quality that is not from 1 to 100, or given for a lossless `format`."""
    if quality is not None and not 1 <= quality <= 100:
        raise SrkdError(f"quality must be from 1 to 100, got {quality}")
    if quality is not None and format is not None and not format_named(format).lossy:
        lossy = ", ".join(known.name for known in FORMATS.values() if known.lossy)
        raise SrkdError(f"{format} has no quality; choose {lossy}")


class RowWriter(Protocol):
    """Takes the rows of one image from top to bottom, (n, W, C) at a time."""

    def write(self, rows: NDArray[Any]) -> None: ...


def format_to_write(name: str) -> Format:
    """The format of a name such as "png", "jpg" or ".TIF", if it can be written on this machine.

    Raises:
        SrkdError: as `format_named`; a package that writes it is not installed.
    """
    known = format_named(name)
    if missing := decoders.missing(known):
        raise SrkdError(missing)
    return known


def to_depth(rows: NDArray[Any], deep: bool) -> NDArray[Any]:
    """uint16 as uint8 (value / 257, rounded) unless `deep`; uint8 unchanged."""
    return rows if deep or rows.dtype != np.uint16 else ((rows.astype(np.uint32) + 128) // 257).astype(np.uint8)


@contextmanager
def open_writer(
    path: Path | str,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any] | type,
    format: str = "png",
    quality: int | None = None,
    metadata: Metadata | None = None,
    new: bool = False,
) -> Iterator[RowWriter]:
    """Yield a writer of the rows of an image of `shape` (H, W, C); the file appears when the block ends without error.

    16 bits are rounded to what the format stores. `quality` (1 to 100, default 95) applies to lossy formats; WebP,
    JPEG XL, HEIC and JPEG 2000 are lossless at 100; JPEG, AVIF and HEIC have full colour resolution from 90. `new` is
    that of `srkd.files.atomic.atomic_path`.

    Raises:
        SrkdError: as `format_to_write`; the format cannot store the image, an invalid quality, a folder that cannot be
            written, a full disk.
    """
    chosen = format_to_write(format)
    check_holds(path, shape, chosen)
    check_quality(quality)
    metadata, _ = fit_metadata(metadata or Metadata(), chosen, shape[2] < 3)
    depth = np.dtype(dtype) if chosen.deep else np.dtype(np.uint8)
    with (
        atomic_path(path, new) as temporary,
        temporary.open("w+b") as stream,
        tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(temporary.parent)) as rows,
    ):
        try:
            writer = _writer(chosen, (stream, rows), shape, depth, quality or DEFAULT_QUALITY, metadata)
        except ValueError as error:
            raise SrkdError(f"{printable_path(path)}: {error}") from error
        checked = _Checked(writer, shape, chosen.deep)
        yield checked
        checked.finish()


_Streams = tuple[BinaryIO, IO[bytes]]  # the file, and a buffer of rows


def _writer(
    chosen: Format, streams: _Streams, shape: tuple[int, int, int], dtype: np.dtype[Any], quality: int, meta: Metadata
) -> Any:
    if chosen.name == "png":
        return PngWriter(streams[0], *shape, dtype, meta)
    if chosen.name == "tiff":
        return TiffWriter(streams[0], *shape, dtype, meta)
    if chosen.name == "jpeg":
        return JpegWriter(streams[0], shape, quality, meta)
    if chosen.name in ("pgm", "ppm", "pam"):
        return NetpbmWriter(streams[0], shape, dtype, chosen.name)
    return _WholeWriter(chosen, streams, (shape, dtype), quality, meta)


class _Checked:
    """Passes rows on in the format's depth, and raises if they are too many or too few."""

    def __init__(self, writer: Any, shape: tuple[int, int, int], deep: bool) -> None:
        self._writer, self._shape, self._deep, self._rows = writer, shape, deep, 0

    def write(self, rows: NDArray[Any]) -> None:
        self._rows += len(rows)
        if rows.shape[1:] != self._shape[1:] or self._rows > self._shape[0]:
            raise ValueError(f"rows of shape {rows.shape} do not fit an image of {self._shape}")
        self._writer.write(to_depth(rows, self._deep))

    def finish(self) -> None:
        if self._rows != self._shape[0]:
            raise ValueError(f"{self._rows} rows written of an image of {self._shape}")
        self._writer.finish()


class _WholeWriter:
    """Collects the rows, those of large images in an unnamed file, and encodes them by Pillow."""

    def __init__(
        self,
        chosen: Format,
        streams: _Streams,
        layout: tuple[tuple[int, int, int], np.dtype[Any]],
        quality: int,
        metadata: Metadata,
    ) -> None:
        self._format, (self._shape, self._dtype) = chosen, layout
        self._stream, self._rows = streams
        self._quality, self._metadata = quality, metadata

    def write(self, rows: NDArray[Any]) -> None:
        self._rows.write(np.ascontiguousarray(rows).data)

    def finish(self) -> None:
        self._rows.seek(0)
        pixels = np.frombuffer(self._rows.read(), self._dtype).reshape(self._shape)
        if self._format.name == "bmp" and self._shape[2] in (2, 4):
            rgba = pixels if self._shape[2] == 4 else pixels[..., [0, 0, 0, 1]]
            bmp.write_with_alpha(self._stream, rgba, self._metadata.dpi)
        elif self._format.name == "jp2":
            self._stream.write(jpeg2000.encoded(pixels, self._quality, self._metadata))
        elif pixels.dtype == np.uint16:
            self._save_deep_heic(pixels)
        else:
            self._save(Image.fromarray(pixels[..., 0] if self._shape[2] == 1 else pixels))

    def _save(self, image: Image.Image) -> None:
        {
            "webp": self._save_webp,
            "bmp": self._save_bmp,
            "avif": self._save_avif,
            "jxl": self._save_jxl,
            "heic": self._save_heic,
            "gif": self._save_gif,
        }[self._format.name](image)

    def _save_webp(self, image: Image.Image) -> None:
        known = self._usual(image.height, image.width)
        image.save(self._stream, "WEBP", quality=self._quality, lossless=self._quality == 100, exact=True, **known)

    def _save_avif(self, image: Image.Image) -> None:
        known = self._usual(image.height, image.width)
        subsampling = "4:4:4" if self._quality >= 90 else "4:2:0"
        image.save(self._stream, "AVIF", quality=self._quality, subsampling=subsampling, **known)

    def _save_jxl(self, image: Image.Image) -> None:
        known = self._usual(image.height, image.width)
        lossless = self._quality == 100
        effort = _LOSSLESS_JXL_EFFORT if lossless else _JXL_EFFORT
        image.save(self._stream, "JXL", quality=self._quality, lossless=lossless, effort=effort, **known)

    def _save_heic(self, image: Image.Image) -> None:
        image.save(self._stream, "HEIF", **self._heic_options(), **self._usual(image.height, image.width))

    def _save_deep_heic(self, pixels: NDArray[np.uint16]) -> None:
        """12 bits, in the upper ones of 16."""
        height, width, channels = pixels.shape
        twelve = (((pixels.astype(np.uint32) * 4095 + 32767) // 65535) << 4).astype("<u2")
        mode = {1: "L;16", 2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}[channels]
        image = import_module("pillow_heif").from_bytes(mode, (width, height), twelve.tobytes())
        image.save(self._stream, bit_depth=12, **self._heic_options(), **self._usual(height, width))

    def _heic_options(self) -> dict[str, Any]:
        if self._quality == 100:
            return {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
        return {"quality": self._quality, "chroma": 444 if self._quality >= 90 else 420}

    def _usual(self, height: int, width: int) -> dict[str, Any]:
        """Pillow's names for profile, EXIF and XMP of an image of this size."""
        known = self._metadata
        return _present(icc_profile=known.icc, exif=known.exif_for(height, width), xmp=known.xmp_for(height, width))

    def _save_gif(self, image: Image.Image) -> None:
        pixels = np.asarray(image.convert("RGBA"))
        writer = GifWriter(self._stream, (*pixels.shape[:2], 4), ([Fraction(0)], 1), self._metadata)
        writer.write(pixels)
        writer.finish()

    def _save_bmp(self, image: Image.Image) -> None:
        image.save(self._stream, "BMP", **_present(dpi=self._metadata.dpi))


def _present(**options: Any) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}
