"""Inputs of `Model.upscale`: paths, arrays and Pillow images, converted to pixels."""

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

_COMPUTED = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))
_DTYPES = (*_COMPUTED, np.dtype(np.float64))
_FLOATS = (-0.5, 1.5)  # accepted range of float images: resizing overshoots [0, 1] a little
_NATIVE_MODES = ("L", "LA", "RGB", "RGBA", "F")


@dataclass(frozen=True)
class InputImage:
    """Pixels (H, W, C), uint8, uint16 or float32 in [0, 1]; `dtype` of the result, 2-d (H, W) if `flat`."""

    pixels: Pixels
    dtype: np.dtype[Any]
    flat: bool = False

    def like(self, result: Pixels) -> Pixels:
        """A result (H, W, C) in the dtype and number of dimensions of the input."""
        return (result[..., 0] if self.flat else result).astype(self.dtype, copy=False)


def read(image: Input) -> InputImage:
    """Read one input image.

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


def native_pixels(pixels: Any) -> Pixels:
    """The pixels in the processor's order of bytes. Raises SrkdError unless they are an array of a dtype that is
    computed."""
    if not isinstance(pixels, np.ndarray):
        raise SrkdError(f"expected an array of uint8, uint16, or float32 in [0, 1]; got {_named(pixels)}")
    dtype = pixels.dtype.newbyteorder("=")
    if dtype not in _COMPUTED:
        raise SrkdError(f"expected an array of uint8, uint16, or float32 in [0, 1]; got one of {pixels.dtype}")
    return pixels.astype(dtype, copy=False)


def _named(image: Any) -> str:
    if image is None:
        return "None, which OpenCV's imread returns for a file that it cannot read: pass the path instead"
    kind = type(image)
    if kind.__module__.split(".")[0] == "torch":
        return "a torch tensor: pass tensor.permute(1, 2, 0).cpu().numpy() of (C, H, W)"
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _array(image: Pixels) -> InputImage:
    dtype = image.dtype.newbyteorder("=")
    if dtype not in _DTYPES:
        raise SrkdError(f"arrays must be uint8, uint16, or float32 or float64 in [0, 1]; got {image.dtype}")
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or 0 in pixels.shape or pixels.shape[2] > 4:
        raise SrkdError(f"images must be (H, W) or (H, W, 1 to 4), got shape {image.shape}")
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
        raise SrkdError(f"{dtype} image contains NaN, first at row {row}, column {column}")
    raise SrkdError(
        f"{dtype} images must be in [0, 1], and this one ranges from {least:.4g} to {most:.4g}; divide values of 0 to "
        "255 by 255, or pass uint8"
    )


def _is_pillow(image: Any) -> bool:
    from PIL.Image import Image

    return isinstance(image, Image)


def _pillow(image: Any) -> InputImage:
    from PIL import ImageOps

    try:
        upright = ImageOps.exif_transpose(image)
        return _array(_pixels_of(upright))
    except (OSError, SyntaxError, ValueError) as error:  # Pillow decodes a file lazily, here
        raise SrkdError(f"Pillow image of mode {image.mode} cannot be read: {error}") from error


def _pixels_of(image: Any) -> Pixels:
    """A Pillow image's pixels: 8 bits unchanged, colours as RGB, integers as uint16."""
    mode = image.mode
    if mode.startswith("I"):
        deep = np.asarray(image)
        if deep.min() < 0 or deep.max() > 65535:
            raise SrkdError(f"Pillow image of mode {mode} ranges from {deep.min()} to {deep.max()}, not 0 to 65535")
        return deep.astype(np.uint16)
    if "transparency" in image.info:
        image = image.convert("LA" if mode in ("1", "L") else "RGBA")
    elif mode not in _NATIVE_MODES:
        image = image.convert({"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(mode, "RGB"))
    return np.asarray(image)
