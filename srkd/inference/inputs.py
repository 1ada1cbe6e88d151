"""What `Model.upscale` may be given, as pixels that a network can take: paths, arrays, Pillow's images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.images.read import read_image

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[Any]
Input: TypeAlias = "Pixels | Path | str | Image"
Several: TypeAlias = "list[Input] | tuple[Input, ...]"

_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32), np.dtype(np.float64))
_FLOATS = (-0.5, 1.5)  # what float images may reach: resizing overshoots, and what is not in [0, 1] is far away
_AS_THEY_ARE = ("L", "LA", "RGB", "RGBA", "F")


@dataclass(frozen=True)
class InputImage:
    """(H, W, C) of uint8, uint16 or float32 in [0, 1], and what the result is to be: its dtype, and 2-d or 3-d."""

    pixels: Pixels
    dtype: np.dtype[Any]
    flat: bool = False

    def like(self, result: Pixels) -> Pixels:
        """A result (H, W, C) of the pixels' dtype in the form of what was given."""
        return (result[..., 0] if self.flat else result).astype(self.dtype, copy=False)


def read(image: Input) -> InputImage:
    """Take one image.

    Raises:
        SrkdError: as `Model.upscale`.
    """
    if isinstance(image, (str, Path)):
        pixels = read_image(image).pixels
        return InputImage(pixels, pixels.dtype)
    if isinstance(image, np.ndarray):
        return _array(image)
    if _is_pillow(image):
        return _pillow(image)
    raise SrkdError(f"an image is a path, an array or a Pillow image; got {_named(image)}")


def _named(image: Any) -> str:
    if image is None:
        return "None, which OpenCV's imread gives for a file that it cannot read: give the path instead"
    kind = type(image)
    if kind.__module__.split(".")[0] == "torch":
        return "a torch tensor: give tensor.permute(1, 2, 0).cpu().numpy() of (C, H, W)"
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _array(image: Pixels) -> InputImage:
    dtype = image.dtype.newbyteorder("=")
    if dtype not in _DTYPES:
        raise SrkdError(f"arrays are of uint8, uint16, or float32 or float64 in [0, 1]; got {image.dtype}")
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.shape[2] > 4:
        raise SrkdError(f"images are (H, W) or (H, W, 1 to 4), got shape {image.shape}")
    if dtype.kind == "f":
        _check_range(image, dtype)
    narrow = np.dtype(np.float32) if dtype.kind == "f" else dtype
    return InputImage(pixels.astype(narrow, copy=False), dtype, image.ndim == 2)


def _check_range(image: Pixels, dtype: np.dtype[Any]) -> None:
    least, most = float(image.min()), float(image.max())
    if _FLOATS[0] <= least and most <= _FLOATS[1]:
        return
    if least != least:  # NaN is not equal to itself
        row, column = np.argwhere(np.isnan(image))[0][:2]
        raise SrkdError(f"{dtype} image holds NaN, first at row {row}, column {column}")
    raise SrkdError(
        f"{dtype} images are in [0, 1], and this one reaches from {least:.4g} to {most:.4g}; divide values of 0 to 255 "
        "by 255, or give uint8"
    )


def _is_pillow(image: Any) -> bool:
    from PIL.Image import Image

    return isinstance(image, Image)


def _pillow(image: Any) -> InputImage:
    from PIL import ImageOps

    try:
        upright = ImageOps.exif_transpose(image)
        return _array(_pixels_of(upright))
    except (OSError, SyntaxError, ValueError) as error:  # a file that is only decoded here
        raise SrkdError(f"Pillow image of mode {image.mode} cannot be read: {error}") from error


def _pixels_of(image: Any) -> Pixels:
    """A Pillow image's pixels: 8 bits as they are, colours as RGB, integers as uint16."""
    mode = image.mode
    if mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise SrkdError(f"Pillow image of mode {mode} reaches from {deep.min()} to {deep.max()}, not 0 to 65535")
        return deep.astype(np.uint16)
    if "transparency" in image.info:
        image = image.convert("LA" if mode in ("1", "L") else "RGBA")
    elif mode not in _AS_THEY_ARE:
        image = image.convert({"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(mode, "RGB"))
    return np.asarray(image)
