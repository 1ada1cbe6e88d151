"""Reading image files: pixels in the file's own depth and channels, and metadata.

Files are recognised by content, not by name. Pillow decodes 8 bits; OpenCV and tifffile decode 16 bits, which Pillow
would reduce to 8. These raise an error:

* more than `MAX_PIXELS` declared, or more than `MAX_BYTES` in the file, before anything is decoded;
* animations and files of several pages (a JPEG's embedded previews do not count);
* floating-point and 32-bit samples, whose range is not stored in the file;
* truncated or corrupt data.

CMYK is converted to sRGB, by the embedded profile if there is one, with a note in `ImageData.notes`. Palettes become
RGB or RGBA, 1-bit images 8-bit grey. A colour declared transparent becomes an alpha channel. EXIF orientation is
applied to the pixels and removed from the metadata.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from srkd.errors import SrkdError
from srkd.files import remote
from srkd.files.atomic import printable_path
from srkd.files.remote import Url
from srkd.images import bmp, decoders, jpeg, jpeg2000, jxl, netpbm, png, tiffreader
from srkd.images.formats import SUFFIXES, format_named, is_readable_name
from srkd.images.metadata import Metadata, left_out, resolution, upright_exif, upright_xmp
from srkd.images.write import open_writer

Pixels = NDArray[Any]

MAX_PIXELS = 150_000_000
MAX_BYTES = 2 << 30  # of a file
_HEADER_FIRST = 16 << 20  # bytes: of larger files, the header is checked before the rest is read
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class ImageData:
    """Pixels (H, W, C), uint8 or uint16, upright; C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA, alpha not premultiplied.

    `format` is that of the file; `lossless` is True for the lossless encoding of a format that has both; `notes` state
    what was converted or dropped in reading it.
    """

    pixels: Pixels
    format: str = "png"
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()
    lossless: bool = False

    @property
    def alpha(self) -> Pixels | None:
        """The alpha channel (H, W), or None."""
        return self.pixels[..., -1] if self.pixels.shape[2] in (2, 4) else None

    @property
    def colour(self) -> Pixels:
        """The other channels: (H, W, 1) or (H, W, 3)."""
        return self.pixels if self.alpha is None else self.pixels[..., :-1]

    @property
    def is_grey(self) -> bool:
        return bool(self.pixels.shape[2] < 3)

    @property
    def opaque(self) -> bool:
        """Whether there is no alpha channel, or one with the maximum everywhere."""
        return self.alpha is None or int(self.alpha.min()) == np.iinfo(self.pixels.dtype).max


def read_image(path: Path | str) -> ImageData:
    """Read an image with its depth, alpha and metadata, upright, from a path or a URL.

    Raises:
        SrkdError: the file cannot be read; one line with its name and the reason.
    """
    data = remote.read(path, MAX_BYTES) if isinstance(path, str) and remote.is_url(path) else None
    with srkd_errors(path):
        if data is not None:
            return _read(data, Url(path).suffix)
        return _read(_whole(check_kind(path)), Path(path).suffix)


def read_rgb(path: Path | str) -> Pixels:
    """Read an image for training or evaluation: uint8 or uint16 RGB (H, W, 3), contiguous.

    Grey is repeated over the three channels. A fully opaque alpha channel is dropped; transparent pixels raise, because
    their colours are arbitrary.

    Raises:
        SrkdError: as `read_image`, or transparency.
    """
    return to_rgb(read_image(path), path)


def to_rgb(image: ImageData, path: Path | str) -> Pixels:
    """The result of `read_rgb(path)`, from the image already read from `path`."""
    if not image.opaque:
        raise SrkdError(
            f"{printable_path(path)}: has transparent pixels, which have no colour to learn from; flatten it first"
        )
    return np.ascontiguousarray(np.broadcast_to(image.colour, (*image.pixels.shape[:2], 3)))


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image file states: its size as `read_image` returns it, and its format."""

    height: int
    width: int
    format: str


def image_header(path: Path | str) -> ImageHeader:
    """Read the header of an image; the pixels are not decoded. Raises SrkdError as `read_image`."""
    with srkd_errors(path), check_kind(path).open("rb") as file, decoding():
        head = file.read(8)
        file.seek(0)
        if tiffreader.is_tiff(head):
            header = tiffreader.tiff_header(Path(path))
            height, width, orientation, name = header.height, header.width, header.orientation, "tiff"
        elif head == png.SIGNATURE:
            parsed = png.parse(file, headers_only=True)
            (height, width), (orientation, *_) = (parsed.height, parsed.width), png.metadata_of(parsed)
            name = "png"
        elif bmp.has_bit_fields(head := file.read(64)):
            (height, width), orientation, name = bmp.size(head), 1, "bmp"
        elif jxl.is_jxl(head):
            known = jxl.header(head + file.read(_HEADER_FIRST))
            height, width, orientation, name = known.height, known.width, 1, "jxl"
        elif netpbm.is_netpbm(head):
            described = netpbm.header(head + file.read(netpbm.HEADER_BYTES))
            height, width, orientation, name = described.height, described.width, 1, described.name
        else:
            file.seek(0)
            with decoders.opened(file, Path(path).suffix) as image:
                (width, height), exif, name = image.size, image.info.get("exif"), decoders.name_of(image)
            if name == "jp2":
                file.seek(0)
                exif = jpeg2000.metadata_of(file)[1]
            orientation = 1 if name == "heic" else upright_exif(exif)[0]
        _check_size(height, width)
    return ImageHeader(width, height, name) if orientation >= 5 else ImageHeader(height, width, name)


def image_size(path: Path | str) -> tuple[int, int]:
    """(height, width) of an image as `read_image` returns it, from the header. Raises SrkdError as `read_image`."""
    header = image_header(path)
    return header.height, header.width


def write_image(path: Path | str, image: ImageData, format: str | None = None, quality: int | None = None) -> None:
    """Write an image with its metadata, by default in the format of the path's suffix; the file appears when complete.

    Raises:
        SrkdError: as `srkd.images.write.open_writer`.
    """
    chosen = format_named(format or Path(path).suffix or image.format).name
    pixels = image.pixels
    with open_writer(path, pixels.shape, pixels.dtype, chosen, quality, image.metadata) as writer:
        writer.write(pixels)


def list_images(folder: Path | str, recursive: bool = False) -> list[Path]:
    """The images of a folder by suffix (`SUFFIXES`), sorted, without hidden files (unfinished ones are hidden).

    With `recursive`, sub-folders too, except links to folders, which could form a loop. A folder by URL is copied to
    the cache first.

    Raises:
        SrkdError: the folder or an image in it is not found.
    """
    if isinstance(folder, str) and remote.is_url(folder):
        folder = remote.fetched_folder(folder, is_readable_name, recursive)
    folder = Path(folder)
    if not folder.is_dir():
        raise SrkdError(f"{printable_path(folder)}: {'not a folder' if folder.exists() else 'no such folder'}")
    try:
        found = sorted(path for path in walk(folder, recursive) if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise SrkdError(f"{printable_path(error.filename or folder)}: {error.strerror}") from error
    if not found:
        hint = "" if recursive else "; sub-folders were not searched"
        raise SrkdError(f"{printable_path(folder)}: no images ({', '.join(SUFFIXES)}) in this folder{hint}")
    return found


def walk(folder: Path, recursive: bool) -> Iterator[Path]:
    """The files of a folder (with `recursive`, of its sub-folders too) that are not hidden, in no particular order."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if recursive and not entry.is_symlink():
                yield from walk(entry, recursive)
        else:
            yield entry


@contextmanager
def srkd_errors(path: Path | str) -> Iterator[None]:
    """Raise errors as SrkdError with the file's name; hide Pillow's warnings, which the checks here cover."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    except MemoryError as error:
        raise SrkdError(f"{printable_path(path)}: not enough memory to decode it") from error
    except OSError as error:
        decoder = str(error) if "nsupported" in str(error) else f"truncated or corrupt ({error})"
        raise SrkdError(f"{printable_path(path)}: {error.strerror or decoder}") from error
    except ValueError as error:
        raise SrkdError(f"{printable_path(path)}: {' '.join(str(error).split())}") from error


@contextmanager
def decoding() -> Iterator[None]:
    """Raise whatever a decoder raises for corrupt data as ValueError."""
    try:
        yield
    except (MemoryError, OSError):
        raise
    except Exception as error:
        if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
            raise
        raise ValueError(f"truncated or corrupt ({type(error).__name__}: {error})") from error


def check_kind(path: Path | str) -> Path:
    """The path. Raises ValueError for a pipe or a device, which may never end."""
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("a pipe or a device and not a file")
    return path


def _whole(path: Path) -> bytes:
    """The content of a file. Raises ValueError if it is larger than `MAX_BYTES`, or large and not an image."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{size:,} bytes, more than the limit of {MAX_BYTES:,}")
    if size > _HEADER_FIRST:
        image_size(path)
    return path.read_bytes()


def _check_size(height: int, width: int) -> None:
    if height * width <= 0:
        raise ValueError("truncated or corrupt (it has no pixels)")
    if height * width > MAX_PIXELS:
        raise ValueError(f"declares {width}x{height} pixels, more than the limit of {MAX_PIXELS:,}")


def _read(data: bytes, suffix: str) -> ImageData:
    with decoding():
        if tiffreader.is_tiff(data):
            return _read_tiff(data)
        if data.startswith(png.SIGNATURE):
            return _read_png(data)
        if data.startswith(_JPEG):
            return _read_jpeg(data)
        if bmp.has_bit_fields(data):
            return _read_bit_fields(data)
        if netpbm.is_netpbm(data):
            return _read_netpbm(data)
        if jpeg2000.is_jpeg2000(data):
            return _read_jpeg2000(data)
        return _read_other(data, suffix)


def _read_png(data: bytes) -> ImageData:
    parsed = png.parse(io.BytesIO(data))
    _check_size(parsed.height, parsed.width)
    orientation, metadata, notes = png.metadata_of(parsed)
    return _finished(png.decoded(parsed), orientation, "png", metadata, notes)


def _read_tiff(data: bytes) -> ImageData:
    header = tiffreader.tiff_header(data)
    _check_size(header.height, header.width)
    tiffreader.check_complete(data)
    metadata, notes = tiffreader.metadata_of(data, header)
    data = tiffreader.as_stored(data, header)
    if not tiffreader.is_for_pillow(data, header):
        return _finished(tiffreader.read_tiff(data), header.orientation, "tiff", metadata, notes)
    with decoders.opened(io.BytesIO(data)) as image:
        pixels, note = decoders.samples(image)
    return _finished(pixels, header.orientation, "tiff", metadata, notes, note)


def _read_jpeg(data: bytes) -> ImageData:
    parsed = jpeg.parse(data)
    with JpegImageFile(io.BytesIO(parsed.data)) as image:
        _check_size(image.height, image.width)
        orientation, metadata, notes = jpeg.metadata_of(parsed, image)
    note: str | None = None

    def decode(stream: io.BytesIO) -> Pixels:
        nonlocal note
        with JpegImageFile(stream) as image:
            pixels, note = decoders.samples(image)
        return pixels

    return _finished(jpeg.decoded(parsed, decode), orientation, "jpeg", metadata, notes, note)


def _read_bit_fields(data: bytes) -> ImageData:
    _check_size(*bmp.size(data))
    metadata = Metadata(bmp.profile(data), dpi=resolution(bmp.dots_per_metre(data), 0.0254))
    return _finished(bmp.decoded(data), 1, "bmp", metadata, ())


def _read_netpbm(data: bytes) -> ImageData:
    header = netpbm.header(data)
    _check_size(header.height, header.width)
    return _finished(netpbm.decoded(data, header), 1, header.name, Metadata(), ())


def _read_jpeg2000(data: bytes) -> ImageData:
    with decoders.opened(io.BytesIO(data)) as image:
        _check_size(image.height, image.width)
        _, metadata, _ = decoders.metadata_of(image)
        icc, exif, xmp = jpeg2000.metadata_of(io.BytesIO(data))
        orientation, block, notes = upright_exif(exif)
        packet, lost = upright_xmp(xmp)
        pixels, note = decoders.jpeg2000(data, image)
    metadata = replace(metadata, icc=icc, exif=block, xmp=packet)
    found = _finished(pixels, orientation, "jp2", metadata, notes + left_out(lost), note)
    return replace(found, lossless=jpeg2000.is_lossless(data))


def _read_other(data: bytes, suffix: str) -> ImageData:
    if jxl.is_jxl(data):  # its decoder takes any size and drops depth
        known = jxl.header(data)
        _check_size(known.height, known.width)
        if known.bits > 8:
            raise ValueError(f"{known.bits}-bit samples of JPEG XL cannot be read; convert it to PNG or TIFF")
    with decoders.opened(io.BytesIO(data), suffix) as image:
        name = decoders.name_of(image)
        _check_size(image.height, image.width)
        if getattr(image, "n_frames", 1) > 1:
            raise ValueError("an animation; give its frames as single images")
        orientation, metadata, notes = decoders.metadata_of(image)
        if name in ("heic", "jxl"):  # their decoders return upright images, whatever EXIF states
            orientation = 1
        if name == "heic":
            pixels, note = decoders.heif(data, image)
        else:
            pixels, note = decoders.gif(image) if name == "gif" else decoders.samples(image)
    if name == "bmp":
        metadata = replace(metadata, icc=bmp.profile(data))
    if name == "avif" and decoders.is_deep_avif(data):
        notes += ("more than 8 bits rounded to 8",)
    found = _finished(pixels, orientation, name, metadata, notes, note)
    return replace(found, lossless=_is_lossless(name, data))


def _is_lossless(name: str, data: bytes) -> bool:
    """Whether a file of a format with lossless and lossy encoding is encoded losslessly."""
    if name == "webp":
        return decoders.is_lossless_webp(data)
    if name == "jxl":
        return jxl.header(data).lossless
    return name in ("avif", "heic") and decoders.is_rgb_in_isobmff(data)


def _finished(
    pixels: Pixels, orientation: int, name: str, metadata: Metadata, notes: tuple[str, ...], note: str | None = None
) -> ImageData:
    if note:  # the profile no longer describes the colours
        metadata, notes = replace(metadata, icc=None), (*notes, note)
    pixels = np.ascontiguousarray(upright(pixels, orientation))
    return ImageData(pixels, name, replace(metadata, size=pixels.shape[:2]), notes)


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo EXIF orientation (1-8; Exif 3.0, tag 274): transpose, then flips."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
