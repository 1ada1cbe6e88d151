"""Degradations like those of a user's own images: JPEG tables read from the files, noise and blur estimated.

Noise is estimated by the median absolute deviation of the finest diagonal wavelet coefficients (Donoho & Johnstone,
"Ideal spatial adaptation by wavelet shrinkage", Biometrika 81(3), 1994), blur by how much the gradient of the sharpest
edges falls when the image is blurred again (Zhuo & Sim, "Defocus map estimation from a single image", Pattern
Recognition 44(9), 2011).

Both are estimates. Of ten photographs with white noise of up to 25 grey levels and Gaussian blur of up to 3 pixels, the
median noise was right to 10 % or 1.2 levels, and with noise of up to 5 the median blur to 10 % or 0.3 pixels; single
images were off by a third. Stronger noise hides blur. Fine texture counts as noise of 1 to 4 levels. Noise that a JPEG
of low quality has removed or a camera smoothed cannot be found, and an image without sharp edges seems blurred.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from PIL import Image, JpegImagePlugin

from srkd.data.degradations import blur, check_size, gaussian_kernel
from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.images.read import image_header, list_images, read_rgb
from srkd.images.resize import imresize

Range = tuple[float, float]
Tables = tuple[tuple[int, ...], ...]
_MOST_FILES, _MOST_TABLES, _SIDE = 64, 32, 1024
_DB2 = np.array([1 - 3**0.5, 3 - 3**0.5, 3 + 3**0.5, 1 + 3**0.5]) / 4 / 2**0.5  # Daubechies' low-pass of 4 taps
_HIGH = (_DB2[::-1] * np.array([1, -1, 1, -1])).astype(np.float32)
_MAD = 0.6745  # median absolute deviation of a normal distribution of unit variance
_FIRST, _SECOND = 0.7, 1.4  # standard deviations of the blurs that are compared, in pixels; the first is against noise
_SHARP = 0.5  # what a sharp image, downscaled with antialiasing, is estimated at, in pixels
_EDGES, _SHARPER = 98.0, 60.0  # percentiles: which pixels are edges, and which of their ratios counts


@dataclass(frozen=True)
class Like:
    """The degradation of a set of images, to be applied to others; see `srkd.data.degradations.Levels`.

    Args:
        jpeg: (luminance and chroma tables in natural order, chroma subsampling as in Pillow) of each kind of JPEG
            among the images, as often as it occurs.
        noise: lowest and highest standard deviation of the noise, in grey levels.
        blur: lowest and highest standard deviation of the blur, in pixels of these images.
    """

    jpeg: tuple[tuple[Tables, int], ...]
    noise: Range
    blur: Range

    def __str__(self) -> str:
        kinds = len(set(self.jpeg))
        return (
            f"{kinds} kind{'s' if kinds > 1 else ''} of JPEG, noise of {self.noise[0]:.1f} to {self.noise[1]:.1f} grey "
            f"levels, blur of {self.blur[0]:.2f} to {self.blur[1]:.2f} pixels"
        )

    def apply(self, image: np.ndarray, scale: int, random: Generator) -> np.ndarray:
        """Blur an image, downscale it by `scale` with antialiasing, add noise and compress it as one of the JPEGs.

        Args:
            image: uint8 (H, W, 3), RGB; H and W multiples of `scale`.
            random: the only source of randomness.

        Returns:
            uint8 (H / scale, W / scale, 3).

        Raises:
            SrkdError: the image is smaller than `scale`.
        """
        check_size(image, scale)
        pixels = image.astype(np.float32)
        sigma = random.uniform(*self.blur) * scale
        if sigma > 0.2:
            size = 2 * int(np.ceil(3 * sigma)) + 1
            pixels = blur(pixels, gaussian_kernel(size, sigma, sigma, 0.0).astype(np.float32))
        pixels = imresize(pixels, 1 / scale).astype(np.float32)
        pixels += random.standard_normal(pixels.shape, np.float32) * np.float32(random.uniform(*self.noise))
        tables, subsampling = self.jpeg[int(random.integers(len(self.jpeg)))]
        return jpeg(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8), tables, subsampling)


@lru_cache(maxsize=8)
def like(folder: str) -> Like:
    """The degradation of the JPEG files in a folder (recursive), measured on at most 64 of them, evenly spaced.

    Raises:
        SrkdError: no such folder; no JPEGs in it, or images of other formats beside them; a file that cannot be read.
    """
    files = _jpegs(folder)
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, _MOST_FILES).round().astype(int))]
    kinds = Counter(jpeg_tables(path) for path in chosen)
    common = [kind for kind, _ in kinds.most_common(_MOST_TABLES)]
    weighted = [kind for kind in common for _ in range(max(1, round(_MOST_TABLES * kinds[kind] / len(chosen))))]
    images = [middle(read_rgb(path), _SIDE) for path in chosen]
    return Like(tuple(weighted), _span([noise(i) for i in images]), _span([blur_sigma(i) for i in images]))


def _jpegs(folder: str) -> list[Path]:
    """The JPEG files of a folder. Their content counts, not their names."""
    files = list_images(folder, recursive=True)
    formats: dict[str, list[Path]] = {}
    for path in files:
        formats.setdefault(image_header(path).format, []).append(path)
    jpegs = formats.pop("jpeg", [])
    if not jpegs:
        raise SrkdError(f"{printable_path(Path(folder))}: no JPEG files; --like reads what they were compressed with")
    if formats:
        others = ", ".join(f"{len(paths)} {kind.upper()}" for kind, paths in sorted(formats.items()))
        raise SrkdError(
            f"{printable_path(Path(folder))}: {len(jpegs)} JPEG files and {others}, such as "
            f"{printable_path(next(iter(formats.values()))[0].name)}; give a folder of one kind of images"
        )
    return jpegs


def jpeg_tables(path: Path) -> tuple[Tables, int]:
    """The quantisation tables of a JPEG (64 integers each in natural order: luminance, and chroma if it has colour),
    and its chroma subsampling as Pillow numbers it: 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0; another counts as 4:2:0."""
    with JpegImagePlugin.JpegImageFile(path) as image:  # of any size, also with other images behind it
        tables: Mapping[int, Sequence[int]] = image.quantization
        sampling = JpegImagePlugin.get_sampling(image)
    found = tuple(tuple(int(value) for value in tables[key]) for key in sorted(tables))[:2]
    return found, sampling if sampling in (0, 1) else 2


def jpeg(pixels: np.ndarray, tables: Tables, subsampling: int) -> np.ndarray:
    """Compress uint8 (H, W, 3) as JPEG with these tables and decode it."""
    buffer = io.BytesIO()
    used: Any = [list(table) for table in (tables if len(tables) > 1 else tables * 2)]
    Image.fromarray(pixels).save(buffer, "JPEG", qtables=used, subsampling=subsampling)
    return np.asarray(Image.open(buffer).convert("RGB"))


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of an image, at most `side` pixels a side."""
    top, left = (max(0, length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _span(values: Sequence[float]) -> Range:
    """Nearly the lowest and highest: a tenth of the images may lie below, and a tenth above."""
    low, high = np.percentile(values, [10, 90])
    return round(float(low), 2), round(float(high), 2)


def noise(image: np.ndarray) -> float:
    """Standard deviation of an image's white noise in grey levels, without clipped pixels, which have lost theirs.

    Args:
        image: uint8 (H, W, 3).
    """
    found = []
    for plane in np.moveaxis(image, 2, 0):
        detail = cv2.sepFilter2D(plane.astype(np.float32), -1, _HIGH, _HIGH, anchor=(0, 0))
        inside = (cv2.erode(plane, np.ones((5, 5))) > 0) & (cv2.dilate(plane, np.ones((5, 5))) < 255)
        coefficients = np.abs(detail[2:-4:2, 2:-4:2][inside[2:-4:2, 2:-4:2]])
        found.append(float(np.median(coefficients)) / _MAD if len(coefficients) else 0.0)
    return float(np.mean(found))


def blur_sigma(image: np.ndarray) -> float:
    """Standard deviation in pixels of the Gaussian blur of an image beyond that of a sharp one; 0 without any edge.

    The gradient of a step edge that is blurred by s and then by r is proportional to 1 / sqrt(s^2 + r^2).

    Args:
        image: uint8 (H, W, 3).
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    first, second = (_gradient(cv2.GaussianBlur(grey, (0, 0), sigma)) for sigma in (_FIRST, _SECOND))
    edges = first > max(float(np.percentile(first, _EDGES)), 2.0)
    if not edges.any():
        return 0.0
    ratio = float(np.percentile(first[edges] / np.maximum(second[edges], 1e-6), _SHARPER)) ** 2
    total = (_SECOND**2 - ratio * _FIRST**2) / max(ratio - 1, 1e-6)
    return float(max(total - _SHARP**2, 0.0) ** 0.5)


def _gradient(plane: np.ndarray) -> np.ndarray:
    return np.hypot(cv2.Sobel(plane, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(plane, cv2.CV_32F, 0, 1, scale=1 / 8))
