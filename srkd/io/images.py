"""Pictures in files: pixels by their own depth and channels, with what belongs to them (profile, EXIF, resolution).

Files are recognised by content, never by name. Pillow opens every file and decodes 8 bits; OpenCV and tifffile decode
16 bits, which Pillow would cut to 8. What cannot be read rightly is refused in words:

* more than `MAX_PIXELS` declared: refused before anything is decoded;
* animations and files of several pages (a JPEG's embedded previews do not count);
* floating-point and 32-bit samples, whose range no file states;
* truncated or corrupt data: never a half-grey picture.

CMYK is converted to sRGB, by the embedded profile where there is one, and `Picture.notes` says so. Palettes become RGB
or RGBA, 1-bit pictures 8-bit grey. A colour declared transparent becomes an alpha channel. EXIF orientation is applied
to the pixels and removed from the metadata.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from srkd.errors import SrkdError
from srkd.io import metadata as meta
from srkd.io import opencv, tiff
from srkd.io.atomic import shown
from srkd.io.metadata import Metadata
from srkd.io.png import SIGNATURE, carried_chunks
from srkd.io.writers import FORMATS, format_named, open_writer

Pixels = NDArray[Any]

MAX_PIXELS = 150_000_000
SUFFIXES = tuple(suffix for known in FORMATS.values() for suffix in known.suffixes)
# Named by their classes: importing those registers the formats, which Pillow else does halfway through another thread.
_PILLOW_NAMES = {
    PngImageFile.format: "png",
    JpegImageFile.format: "jpeg",
    "MPO": "jpeg",
    WebPImageFile.format: "webp",
    TiffImageFile.format: "tiff",
    BmpImageFile.format: "bmp",
}
_READABLE = ", ".join(FORMATS)
# As Pillow calls them: L grey, P palette, A alpha, a alpha already multiplied in, X padding.
_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBX": "RGB",
          "RGBA": "RGBA", "RGBa": "RGBA", "YCbCr": "RGB"}  # fmt: skip
# What Pillow, tifffile and zlib raise on data that is cut or corrupt.
_BROKEN = (ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, struct.error, zlib.error)


@dataclass(frozen=True)
class Picture:
    """Pixels (H, W, C), uint8 or uint16, C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA, upright, alpha not multiplied in.

    `format` is that of the file it came from; `notes` say what was changed or left out in reading it.
    """

    pixels: Pixels
    format: str = "png"
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()

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
        return self.pixels.shape[2] < 3

    @property
    def opaque(self) -> bool:
        """Whether there is no alpha channel, or one that is full everywhere."""
        return self.alpha is None or int(self.alpha.min()) == np.iinfo(self.pixels.dtype).max


def read_picture(path: Path | str) -> Picture:
    """Read a picture with its depth, alpha and metadata, upright.

    Raises:
        SrkdError: one line naming the file and what is wrong with it.
    """
    with _in_words(path):
        _check_kind(path)
        data = Path(path).read_bytes()
        return _read_tiff(data) if tiff.is_tiff(data) else _read_other(data)


def read_rgb(path: Path | str) -> Pixels:
    """Read a picture for training or evaluation: uint8 or uint16 RGB (H, W, 3), contiguous.

    Grey is repeated over the three channels. A fully opaque alpha channel is dropped; a picture with real transparency
    is refused, because the colours below it are arbitrary.

    Raises:
        SrkdError: as `read_picture`, or transparency.
    """
    return to_rgb(read_picture(path), path)


def to_rgb(picture: Picture, path: Path | str) -> Pixels:
    """What `read_rgb(path)` returns, from the picture already read from `path`."""
    if not picture.opaque:
        raise SrkdError(f"{shown(path)}: has transparent pixels, which have no colour to learn from; flatten it first")
    return np.ascontiguousarray(np.broadcast_to(picture.colour, (*picture.pixels.shape[:2], 3)))


def picture_size(path: Path | str) -> tuple[int, int]:
    """(height, width) of a picture as it will be read, from its header alone. Raises SrkdError as `read_picture`."""
    with _in_words(path), _check_kind(path).open("rb") as file:
        if tiff.is_tiff(file.read(4)):
            header = tiff.tiff_header(Path(path))
            height, width, orientation = header.height, header.width, header.orientation
        else:
            file.seek(0)
            with _opened(file) as image:
                (width, height), (orientation, *_) = image.size, meta.from_pillow(image)
    _check_size(height, width)
    return (width, height) if orientation >= 5 else (height, width)


def write_picture(path: Path | str, picture: Picture, format: str | None = None, quality: int | None = None) -> None:
    """Write a picture with its metadata, by default in the format of the path's suffix; all or nothing.

    Raises:
        SrkdError: as `srkd.io.writers.open_writer`, which also tells what each format holds.
    """
    chosen = format_named(format or Path(path).suffix or picture.format).name
    pixels = picture.pixels
    with open_writer(path, pixels.shape, pixels.dtype, chosen, quality, picture.metadata) as writer:
        writer.write(pixels)


def list_images(folder: Path | str, recursive: bool = False) -> list[Path]:
    """The pictures of a folder by suffix (`SUFFIXES`), sorted; hidden (and so unfinished) files are left out.

    With `recursive`, sub-folders too; links to folders are not followed, so that a link that loops does no harm.

    Raises:
        SrkdError: no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SrkdError(f"{shown(folder)}: {'not a folder' if folder.exists() else 'no such folder'}")
    try:
        found = sorted(_walk(folder, recursive))
    except OSError as error:
        raise SrkdError(f"{shown(error.filename or folder)}: {error.strerror}") from error
    if not found:
        hint = "" if recursive else "; sub-folders were not searched"
        raise SrkdError(f"{shown(folder)}: no pictures ({', '.join(SUFFIXES)}) in this folder{hint}")
    return found


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if recursive and not entry.is_symlink():
                yield from _walk(entry, recursive)
        elif entry.suffix.lower() in SUFFIXES:
            yield entry


@contextmanager
def _in_words(path: Path | str) -> Iterator[None]:
    """Errors as one line that names the file; what Pillow warns of is refused, or left out with a note."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    except MemoryError as error:
        raise SrkdError(f"{shown(path)}: not enough memory to decode it") from error
    except OSError as error:
        raise SrkdError(f"{shown(path)}: {error.strerror or f'truncated or corrupt ({error})'}") from error
    except _BROKEN as error:
        raise SrkdError(f"{shown(path)}: {error}") from error


@contextmanager
def _decoding() -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise ValueError(f"truncated or corrupt ({error})") from error


def _check_kind(path: Path | str) -> Path:
    """The path, unless it is something that may never end, such as a pipe or /dev/zero."""
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("a pipe or a device and not a file")
    return path


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise ValueError(f"declares {width}x{height} pixels, more than the limit of {MAX_PIXELS:,}")


def _opened(stream: Any) -> Image.Image:
    """Open by content. Raises ValueError in words."""
    try:
        return Image.open(stream, formats=[f for f in _PILLOW_NAMES if f != "MPO"])  # the JPEG plugin opens MPO
    except Image.DecompressionBombError as error:
        raise ValueError(f"declares more pixels than the limit of {MAX_PIXELS:,}") from error
    except Image.UnidentifiedImageError as error:
        stream.seek(0)
        raise ValueError(_why_not_identified(stream.read(16))) from error


def _why_not_identified(head: bytes) -> str:
    if not head:
        return "the file is empty"
    if head.startswith((b"\x89PNG", b"\xff\xd8", b"BM", b"RIFF")):
        return "a picture whose header is truncated or corrupt"
    return f"not a picture that can be read ({_READABLE})"


def _read_other(data: bytes) -> Picture:
    with _opened(io.BytesIO(data)) as image:
        name = _PILLOW_NAMES[image.format or ""]
        _check_size(image.height, image.width)
        if name != "jpeg" and getattr(image, "n_frames", 1) > 1:
            raise ValueError("an animation; give its frames as single pictures")
        with _decoding():
            pixels, note = (_png16(image, data), None) if _is_png16(data) else _eight_bits(image)
        orientation, metadata, notes = meta.from_pillow(image)
        if name == "png":
            metadata = replace(metadata, png_chunks=carried_chunks(data))
    return _finished(pixels, orientation, name, metadata, notes, note)


def _read_tiff(data: bytes) -> Picture:
    header = tiff.tiff_header(data)
    _check_size(header.height, header.width)
    _, metadata, notes = meta.from_tiff(data)
    with _decoding():
        if header.bits > 8:
            return _finished(tiff.read_tiff16(data), header.orientation, "tiff", metadata, notes, None)
        with _opened(io.BytesIO(data)) as image:
            pixels, note = _eight_bits(image)  # already upright: Pillow turns TIFF files, and only those
        return _finished(pixels, 1, "tiff", metadata, notes, note)


def _finished(
    pixels: Pixels, orientation: int, name: str, metadata: Metadata, notes: tuple[str, ...], note: str | None
) -> Picture:
    if note:  # the colours are no longer those that the profile describes
        metadata, notes = replace(metadata, icc=None), (*notes, note)
    return Picture(np.ascontiguousarray(_upright(pixels, orientation)), name, metadata, notes)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo EXIF orientation (1-8; Exif 3.0, tag 274): transpose, then flips."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _is_png16(data: bytes) -> bool:
    return data.startswith(SIGNATURE) and data[24] == 16


def _png16(image: Image.Image, data: bytes) -> Pixels:
    transparent = image.info.get("transparency")
    image.verify()  # every chunk's checksum, which OpenCV does not insist on
    pixels = opencv.decode(data)
    if data[25] == 4:  # grey and alpha, which OpenCV expands to RGBA
        pixels = pixels[..., [0, 3]]
    if pixels.ndim == 2 and isinstance(transparent, int):
        pixels = np.stack([pixels, np.where(pixels == transparent, 0, 65535).astype(np.uint16)], axis=-1)
    return pixels.reshape(*pixels.shape[:2], -1)


def _eight_bits(image: Image.Image) -> tuple[Pixels, str | None]:
    note = None
    if image.mode == "CMYK":
        image, note = _from_cmyk(image)
    if image.mode not in _MODES:
        raise ValueError(f"samples of kind {image.mode} cannot be read; convert it to 8 or 16-bit grey or RGB")
    mode = _MODES[image.mode]
    if image.has_transparency_data and not mode.endswith("A"):
        mode += "A"
    image.load()
    pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1), note


def _from_cmyk(image: Image.Image) -> tuple[Image.Image, str]:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted, "converted from CMYK to sRGB by its profile"
        except (ImageCms.PyCMSError, OSError):
            pass  # a profile that is broken, or not of CMYK
    return image.convert("RGB"), "converted from CMYK to sRGB without a profile: colours are approximate"
