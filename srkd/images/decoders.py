"""Decoders of other packages, and what they leave out: Pillow decodes 8 bits, OpenCV more.

Pillow drops the depth of JPEG 2000 (ITU-T T.800, A.5.1).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from srkd.images import jxl
from srkd.images.formats import READABLE, Format
from srkd.images.metadata import Metadata, left_out, resolution, upright_exif, upright_xmp

Pixels = NDArray[Any]

# Imported here: otherwise Pillow registers them on first use, possibly while another thread opens an image.
for _plugin in ("Avif", "Bmp", "Gif", "Jpeg", "Jpeg2K", "Png", "Ppm", "Tga", "Tiff", "WebP"):
    with suppress(ImportError):  # Pillow before 11.3 has no AVIF
        import_module(f"PIL.{_plugin}ImagePlugin")
with suppress(ImportError):  # the extra `formats`
    import_module("pillow_jxl")
with suppress(ImportError):
    import_module("pillow_heif").register_heif_opener()

NAMES = {pillow: known.name for known in READABLE.values() for pillow in known.pillow}
_PACKAGES = {
    "AVIF": ("AVIF", "Pillow from 11.3 on", "pillow>=11.3"),
    "JXL": ("JPEG XL", "pillow-jxl-plugin", "srkd[formats]"),
    "HEIF": ("HEIC", "pillow-heif", "srkd[formats]"),
}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_NO_MAGIC = ("TGA",)  # recognised by its suffix only
# Pillow's modes: L grey, P palette, A alpha, a premultiplied alpha, X padding.
_MODES = {mode: mode for mode in ("L", "LA", "RGB", "RGBA")}
_MODES |= {"1": "L", "La": "LA", "P": "RGB", "PA": "RGBA", "RGBX": "RGB", "RGBa": "RGBA", "YCbCr": "RGB"}
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_INFLATE_STEP = 1 << 20
_BAND_BYTES = 1 << 24

_SIZ = b"\xff\x4f\xff\x51"


def inflated_length(parts: Iterable[bytes], most: int) -> int:
    """The number of bytes of an inflated zlib stream, counted up to about `most`, in constant memory.

    Raises:
        zlib.error: it is corrupt.
    """
    inflating, found = zlib.decompressobj(), 0
    for part in parts:
        while part and found < most:
            found += len(inflating.decompress(part, _INFLATE_STEP))
            part = inflating.unconsumed_tail
    return found


def opencv(data: bytes) -> Pixels:
    """Samples (H, W) or (H, W, C) in RGB(A) order and the file's own depth, orientation not applied.

    Raises:
        ValueError: OpenCV cannot decode it.
    """
    try:
        import cv2
    except ImportError:
        raise ValueError("samples of this kind need OpenCV: pip install opencv-python-headless") from None

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the error below is enough
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("OpenCV cannot decode it")
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(pixels.shape[2] if pixels.ndim == 3 else 1)
    return pixels[..., order] if order else pixels


def opened(stream: Any, suffix: str = "") -> Image.Image:
    """Open with Pillow by content; TGA, which has no signature, by `suffix`. Raises ValueError."""
    tried = [f for f in NAMES if f not in (*_NO_MAGIC, "MPO", "DIB") or suffix.lower() in READABLE[NAMES[f]].suffixes]
    try:
        return Image.open(stream, formats=[f for f in tried if f in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise ValueError("declares more pixels than the limit of 150,000,000") from error
    except UnidentifiedImageError as error:
        stream.seek(0)
        raise ValueError(_why_not_identified(stream.read(16))) from error


def name_of(image: Image.Image) -> str:
    """The name, as in `formats.READABLE`, of the format of an opened file; Netpbm files other than bitmaps excepted."""
    return "pbm" if image.format == "PPM" else NAMES[image.format or ""]


def _why_not_identified(head: bytes) -> str:
    if not head:
        return "the file is empty"
    needed = "JXL" if jxl.is_jxl(head) else "HEIF" if is_heif(head) else None
    if needed and needed not in Image.OPEN:
        return _needs(needed)
    if head.startswith((b"\x89PNG", b"\xff\xd8", b"BM", b"RIFF", b"GIF8")):
        return "an image whose header is truncated or corrupt"
    if head.startswith((b"II", b"MM")):
        return "a TIFF file of a kind that cannot be read; convert it to 8 or 16-bit grey or RGB"
    return f"not an image that can be read ({', '.join(READABLE)})"


def missing(format: Format) -> str | None:
    """What must be installed before a format can be written; None if nothing is missing."""
    needed = [name for name in format.pillow if name in _PACKAGES and name not in Image.SAVE]
    return _needs(needed[0]) if needed else None


def _needs(format: str) -> str:
    name, package, install = _PACKAGES[format]
    return f"{name} needs the package {package}: pip install '{install}'"


def is_heif(head: bytes) -> bool:
    """Whether a file is HEIC or HEIF, by the brand in its first 12 bytes."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def heif(data: bytes, image: Image.Image) -> tuple[Pixels, str | None]:
    """(uint8 or uint16 (H, W, C), a note on conversions); `image` is the file as Pillow opened it."""
    depth = int(image.info.get("bit_depth") or 8)
    if depth <= 8:
        return samples(image)
    deep = np.asarray(import_module("pillow_heif").open_heif(data, convert_hdr_to_8bit=False))
    return _full_range(deep.reshape(*deep.shape[:2], -1) >> (16 - depth), (1 << depth) - 1), None


def samples(image: Image.Image) -> tuple[Pixels, str | None]:
    """(uint8 or uint16 (H, W, C) as stored, a note on conversions). Raises ValueError for samples of another kind."""
    note = None
    if image.mode == "CMYK":
        image, note = _from_cmyk(image)
    if image.mode in _DEEP_MODES:
        image.load()
        return np.asarray(image).astype(np.uint16)[..., None], note
    if image.mode not in _MODES:
        raise ValueError(f"samples of kind {image.mode} cannot be read; convert it to 8 or 16-bit grey or RGB")
    mode = _MODES[image.mode]
    if image.has_transparency_data and not mode.endswith("A"):
        mode += "A"
    image.load()
    return _array(image, mode), note


def gif(image: Image.Image) -> tuple[Pixels, str | None]:
    """As `samples`, of a GIF that Pillow opened: what its frame leaves free is transparent, as browsers show it. Pillow
    fills it with a colour of the palette."""
    assert isinstance(image, ImageFile.ImageFile)
    left, top, right, bottom = image.tile[0][1] or (0, 0, *image.size)
    pixels, note = samples(image)
    if (left, top, right, bottom) == (0, 0, *image.size):
        return pixels, note
    canvas = np.zeros((*pixels.shape[:2], 4), np.uint8)
    canvas[top:bottom, left:right] = np.asarray(image.convert("RGBA"))[top:bottom, left:right]
    return canvas, note


def _array(image: Image.Image, mode: str) -> Pixels:
    """(H, W, C) uint8 in a mode. Large images band by band: Pillow's conversions make two more copies of the whole."""
    width, height, channels = *image.size, len(mode)
    rows = max(1, _BAND_BYTES // (width * channels))
    if rows >= height:
        return np.asarray(image if image.mode == mode else image.convert(mode)).reshape(height, width, channels)
    pixels = np.empty((height, width, channels), np.uint8)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = _array(band, mode)
    return pixels


def _from_cmyk(image: Image.Image) -> tuple[Image.Image, str]:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted, "converted from CMYK to sRGB by its profile"
        except (ImageCms.PyCMSError, OSError):
            pass  # a corrupt profile, or one that is not of CMYK
    return image.convert("RGB"), "converted from CMYK to sRGB without a profile: colours are approximate"


def is_srgb(profile: bytes) -> bool:
    """Whether a profile is named sRGB, or as libjxl names the grey one of its transfer curve."""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        return "sRGB" in name or name.strip() == "Gra_D65_Rel_SRG"
    except (ImageCms.PyCMSError, OSError):
        return False


def to_srgb(pixels: Pixels, profile: bytes) -> Pixels | None:
    """uint8 (H, W, C) converted to sRGB; None if the profile is corrupt or of other channels."""
    alpha = pixels.shape[2] in (2, 4)
    colour = np.ascontiguousarray(pixels[..., :-1] if alpha else pixels)
    image = Image.fromarray(colour[..., 0] if colour.shape[2] == 1 else colour)
    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
    rgb = np.asarray(converted)[..., : colour.shape[2]]
    return np.concatenate([rgb, pixels[..., -1:]], axis=2) if alpha else rgb


def metadata_of(image: Image.Image) -> tuple[int, Metadata, tuple[str, ...]]:
    """(EXIF orientation, metadata, notes) of an image opened with Pillow."""
    info = image.info
    orientation, block, notes = upright_exif(info.get("exif"))
    packet, lost = upright_xmp(info.get("xmp"))
    comment = info.get("comment") if image.format == "GIF" else None  # in other formats the name of a program
    metadata = Metadata(info.get("icc_profile"), block, packet, resolution(info.get("dpi")), comment=comment)
    return orientation, metadata, notes + left_out(lost)


def jpeg2000(data: bytes, image: Image.Image) -> tuple[Pixels, str | None]:
    """(uint8 or uint16 (H, W, C), a note on conversions); `image` is the file as Pillow opened it."""
    at = data.find(_SIZ)
    depth = (data[at + 42] & 127) + 1 if 0 <= at < len(data) - 42 else 8
    if depth <= 8:
        return samples(image)
    pixels = opencv(data)
    if depth > 16 or pixels.dtype != np.uint16:
        raise ValueError(f"{depth}-bit samples; convert it to 8 or 16 bits")
    most = (1 << depth) - 1
    return _full_range(np.minimum(pixels, most).reshape(*pixels.shape[:2], -1), most), None


def _full_range(pixels: Pixels, most: int) -> Pixels:
    """Samples from 0 to `most` scaled to uint16's range, rounded."""
    return ((pixels.astype(np.uint32) * 65535 + most // 2) // most).astype(np.uint16)


def is_lossless_webp(data: bytes) -> bool:
    """Whether a WebP file's image is encoded losslessly (RFC 9649, section 2.7)."""
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind in (b"VP8L", b"VP8 "):
            return bool(kind == b"VP8L")
        at += 8 + (16 if kind == b"ANMF" else length + length % 2)  # a frame contains chunks
    return False


def is_rgb_in_isobmff(data: bytes) -> bool:
    """Whether AVIF or HEIC stores RGB (matrix coefficients 0 of ITU-T H.273), as only lossless encoding does."""
    at = data.find(b"colrnclx")
    return at >= 0 and data[at + 12 : at + 14] == b"\0\0"


def is_deep_avif(data: bytes) -> bool:
    """Whether the codec's configuration has its flag high_bitdepth set (AV1 in ISOBMFF, 2.3.3)."""
    at = data.find(b"av1C")
    return 0 <= at < len(data) - 6 and bool(data[at + 6] & 0x40)
