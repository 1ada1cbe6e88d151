"""Pillow as the reader of everything with 8 bits: opened by content, given out as arrays."""

from __future__ import annotations

import io
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from srkd.images.formats import READABLE
from srkd.images.metadata import Metadata, resolution, upright_exif, upright_xmp

Pixels = NDArray[Any]

# Registered here, which Pillow else does halfway through another thread.
for _plugin in ("Avif", "Bmp", "Gif", "Jpeg", "Jpeg2K", "Png", "Ppm", "Tga", "Tiff", "WebP"):
    with suppress(ImportError):  # Pillow before 11.3 has no AVIF
        import_module(f"PIL.{_plugin}ImagePlugin")

NAMES = {pillow: known.name for known in READABLE.values() for pillow in known.pillow}
_NO_MAGIC = ("TGA",)  # recognised by their name alone
# As Pillow calls them: L grey, P palette, A alpha, a alpha already multiplied in, X padding.
_MODES = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "YCbCr": "RGB",
}
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")


def opened(stream: Any, suffix: str = "") -> Image.Image:
    """Open by content; TGA, which has nothing to be recognised by, where `suffix` is its own. Raises ValueError."""
    tried = [f for f in NAMES if f not in (*_NO_MAGIC, "MPO", "DIB") or suffix.lower() in READABLE[NAMES[f]].suffixes]
    try:
        return Image.open(stream, formats=[f for f in tried if f in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise ValueError("declares more pixels than the limit of 150,000,000") from error
    except Image.UnidentifiedImageError as error:
        stream.seek(0)
        raise ValueError(_why_not_identified(stream.read(16))) from error


def _why_not_identified(head: bytes) -> str:
    if not head:
        return "the file is empty"
    if head.startswith((b"\x89PNG", b"\xff\xd8", b"BM", b"RIFF", b"GIF8")):
        return "an image whose header is truncated or corrupt"
    if head.startswith((b"II", b"MM")):
        return "a TIFF file of a kind that cannot be read; convert it to 8 or 16-bit grey or RGB"
    return f"not an image that can be read ({', '.join(READABLE)})"


def samples(image: Image.Image) -> tuple[Pixels, str | None]:
    """(uint8 or uint16 (H, W, C) as stored, what was changed). Raises ValueError for samples of another kind."""
    note = None
    if image.mode == "CMYK":
        image, note = _from_cmyk(image)
    if image.mode in _DEEP:
        image.load()
        return np.asarray(image).astype(np.uint16)[..., None], note
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


def metadata_of(image: Image.Image) -> tuple[int, Metadata, tuple[str, ...]]:
    """(EXIF orientation, metadata, notes) of an opened image, as far as Pillow gives them out."""
    info = image.info
    orientation, block, notes = upright_exif(info.get("exif"))
    packet, announced = upright_xmp(info.get("xmp"))
    notes += tuple(f"its {what} was left out" for what in announced)
    comment = info.get("comment") if image.format == "GIF" else None  # others' name the program that wrote them
    metadata = Metadata(info.get("icc_profile"), block, packet, resolution(info.get("dpi")), comment=comment)
    return orientation, metadata, notes
