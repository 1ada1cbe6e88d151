"""Synthetic real-world degradations: blur, resizing, noise and JPEG, applied twice.

The second-order degradation of Real-ESRGAN (Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with
Pure Synthetic Data", ICCVW 2021, arXiv:2107.10833), with the names, defaults and order of BasicSR's
`RealESRGANDataset` and `RealESRGANModel`. Unlike BasicSR, resizes and JPEG qualities are drawn per image, and depend
on the generator alone, so that patch number n of seed s is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from scipy.special import j1

from srkd.errors import SrkdError
from srkd.images.resize import imresize

Range = tuple[float, float]
KERNELS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
_SIZES = range(7, 22, 2)
_INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


def _check_probability(key: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise SrkdError(f"{key}: needs a probability from 0 to 1, got {value}")


@dataclass(frozen=True)
class Order:
    """One of the two passes; the fields are BasicSR's, without the suffix `2` of its second pass.

    `blur_prob` is the probability of any blur, `sinc_prob` that it is a sinc filter, `kernel_prob` those of the kinds
    in `kernel_list`. `blur_sigma` is in pixels; `betag_range` and `betap_range` are the exponents of generalised and
    plateau-shaped kernels. `resize_prob` are the probabilities to enlarge, shrink and keep. `noise_range` is the
    standard deviation of Gaussian noise in grey levels, `poisson_scale_range` the strength of Poisson noise (1: as many
    photons as grey levels), `jpeg_range` the quality.
    """

    blur_prob: float = 1.0
    blur_kernel_size: int = 21
    kernel_list: Sequence[str] = KERNELS
    kernel_prob: Sequence[float] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    sinc_prob: float = 0.1
    blur_sigma: Range = (0.2, 3.0)
    betag_range: Range = (0.5, 4.0)
    betap_range: Range = (1.0, 2.0)
    resize_prob: Sequence[float] = (0.2, 0.7, 0.1)
    resize_range: Range = (0.15, 1.5)
    gaussian_noise_prob: float = 0.5
    noise_range: Range = (1.0, 30.0)
    poisson_scale_range: Range = (0.05, 3.0)
    gray_noise_prob: float = 0.4
    jpeg_range: Range = (30.0, 95.0)

    def __post_init__(self) -> None:
        if unknown := set(self.kernel_list) - set(KERNELS):
            raise SrkdError(f"kernel_list: no kernel {sorted(unknown)[0]!r}; available: {', '.join(KERNELS)}")
        for key, count in (("kernel_prob", len(self.kernel_list)), ("resize_prob", 3)):
            probabilities = getattr(self, key)
            if len(probabilities) != count or min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-6:
                raise SrkdError(f"{key}: needs {count} probabilities that sum to 1, got {list(probabilities)}")
        for key in ("blur_prob", "sinc_prob", "gaussian_noise_prob", "gray_noise_prob"):
            _check_probability(key, getattr(self, key))
        positive = ("blur_sigma", "betag_range", "betap_range", "resize_range")
        for key in (*positive, "noise_range", "poisson_scale_range", "jpeg_range"):
            low, high = getattr(self, key)
            if not 0 <= low <= high or (low == 0 and key in positive):
                raise SrkdError(f"{key}: needs two numbers, the lower one first, got {[low, high]}")
        if self.blur_kernel_size < 1 or self.blur_kernel_size % 2 == 0:
            raise SrkdError(f"blur_kernel_size: needs an odd number, got {self.blur_kernel_size}")


@dataclass(frozen=True)
class Degradation:
    """Both passes, and the final sinc filter that simulates ringing."""

    first: Order = Order()
    second: Order = Order(
        blur_prob=0.8,
        blur_sigma=(0.2, 1.5),
        resize_prob=(0.3, 0.4, 0.3),
        resize_range=(0.3, 1.2),
        noise_range=(1.0, 25.0),
        poisson_scale_range=(0.05, 2.5),
    )
    final_sinc_prob: float = 0.8

    def __post_init__(self) -> None:
        _check_probability("final_sinc_prob", self.final_sinc_prob)


# A slight blur before the image is downscaled, slight noise and one JPEG after it.
SLIGHT = Order(
    blur_prob=0.5,
    sinc_prob=0.0,
    blur_sigma=(0.2, 2.0),
    resize_prob=(0.0, 0.0, 1.0),
    noise_range=(0.0, 8.0),
    poisson_scale_range=(0.05, 0.6),
    jpeg_range=(60.0, 98.0),
)


@dataclass(frozen=True)
class Levels:
    """A mixture of images by how much they are degraded, since users' images range from clean to ruined.

    An image is only downscaled (MATLAB's bicubic) with probability `clean_prob`, degraded once and slightly, by
    `slight`, with probability `slight_prob`, and by `strong` otherwise. A mixture of levels is due to DASR (Liang et
    al., "Efficient and Degradation-Adaptive Network for Real-World Image Super-Resolution", ECCV 2022,
    arXiv:2203.14216); Real-ESRGAN has the strong one only, which is the default.
    """

    clean_prob: float = 0.0
    slight_prob: float = 0.0
    slight: Order = SLIGHT
    strong: Degradation = Degradation()

    def __post_init__(self) -> None:
        for key in ("clean_prob", "slight_prob"):
            _check_probability(key, getattr(self, key))
        if self.clean_prob + self.slight_prob > 1:
            raise SrkdError(f"clean_prob and slight_prob: their sum is {self.clean_prob + self.slight_prob}, above 1")

    def apply(self, image: np.ndarray, scale: int, random: Generator) -> np.ndarray:
        """Degrade an image by a random level and downscale it; arguments, result and errors as `degrade`."""
        kind = random.random()
        if kind < self.clean_prob:
            check_size(image, scale)
            return imresize(np.ascontiguousarray(image), 1 / scale)
        if kind < self.clean_prob + self.slight_prob:
            return degrade_once(image, scale, random, self.slight)
        return degrade(image, scale, random, self.strong)


def degrade(image: np.ndarray, scale: int, random: Generator, options: Degradation = Degradation()) -> np.ndarray:
    """Degrade an image and downscale it by `scale`.

    Args:
        image: uint8 (H, W, 3), RGB; H and W multiples of `scale`.
        random: the only source of randomness.

    Returns:
        uint8 (H / scale, W / scale, 3).

    Raises:
        SrkdError: the image is smaller than `scale`.
    """
    check_size(image, scale)
    height, width = image.shape[0] // scale, image.shape[1] // scale
    first, second = options.first, options.second
    kernels = [blur_kernel(order, random) for order in (first, second)]
    last = _ringing(second.blur_kernel_size, random) if random.random() < options.final_sinc_prob else None

    pixels = image.astype(np.float32) / 255
    if random.random() < first.blur_prob:
        pixels = blur(pixels, kernels[0])
    pixels = _resized(pixels, image.shape[0], image.shape[1], first, random)
    pixels = jpeg(np.clip(_noisy(pixels, first, random), 0, 1), _uniform(first.jpeg_range, random))

    if random.random() < second.blur_prob:
        pixels = blur(pixels, kernels[1])
    pixels = _noisy(_resized(pixels, height, width, second, random), second, random)
    # JPEG before or after the last resize and filter: both occur in practice.
    quality, jpeg_first = _uniform(second.jpeg_range, random), random.random() < 0.5
    if jpeg_first:
        pixels = jpeg(np.clip(pixels, 0, 1), quality)
    pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=_interpolation(random)))
    if last is not None:
        pixels = blur(pixels, last)
    if not jpeg_first:
        pixels = jpeg(np.clip(pixels, 0, 1), quality)
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def degrade_once(image: np.ndarray, scale: int, random: Generator, order: Order = SLIGHT) -> np.ndarray:
    """Blur an image, downscale it by `scale` with antialiasing, add noise and compress it as JPEG.

    Arguments, result and errors as `degrade`; `order.resize_prob` has no effect.
    """
    check_size(image, scale)
    kernel = blur_kernel(order, random)
    pixels = image.astype(np.float32) / 255
    if random.random() < order.blur_prob:
        pixels = blur(pixels, kernel)
    if random.random() < 0.5:
        pixels = imresize(pixels, 1 / scale).astype(np.float32)
    else:
        size = (image.shape[1] // scale, image.shape[0] // scale)
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    pixels = jpeg(np.clip(_noisy(pixels, order, random), 0, 1), _uniform(order.jpeg_range, random))
    return np.rint(pixels * 255).astype(np.uint8)


def check_size(image: np.ndarray, scale: int) -> None:
    """Raise SrkdError if an image is too small to be downscaled by `scale`."""
    if min(image.shape[:2]) < scale:
        raise SrkdError(f"an image of {image.shape[1]}x{image.shape[0]} is too small to downscale by {scale}")


def blur(pixels: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Filter float32 (H, W, 3) by an odd, square kernel; borders are reflected."""
    return cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def jpeg(pixels: np.ndarray, quality: float) -> np.ndarray:
    """Compress float32 (H, W, 3) in [0, 1] as JPEG of this quality (1 to 100) and decode it."""
    return compressed(np.rint(pixels * 255).astype(np.uint8), quality).astype(np.float32) / 255


def compressed(image: np.ndarray, quality: float) -> np.ndarray:
    """An image, uint8 RGB (H, W, 3), after JPEG compression of this quality (1 to 100)."""
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1])


def blur_kernel(order: Order, random: Generator) -> np.ndarray:
    """A random blur kernel, float32 (blur_kernel_size, blur_kernel_size), sum 1."""
    size = int(random.choice(_SIZES))
    if random.random() < order.sinc_prob:
        # With a low cut-off only the centre of a small kernel would remain.
        cutoff = random.uniform(np.pi / (3 if size < 13 else 5), np.pi)
        kernel = sinc_kernel(size, cutoff)
    else:
        kind = str(random.choice(np.array(order.kernel_list), p=np.asarray(order.kernel_prob)))
        kernel = _gaussian_like(kind, size, order, random)
    return _padded(kernel, order.blur_kernel_size)


def _gaussian_like(kind: str, size: int, order: Order, random: Generator) -> np.ndarray:
    sigma = _uniform(order.blur_sigma, random)
    other, angle = sigma, 0.0
    if kind.endswith("aniso"):
        other, angle = _uniform(order.blur_sigma, random), random.uniform(-np.pi, np.pi)
    span = {"generalized": order.betag_range, "plateau": order.betap_range}.get(kind.partition("_")[0])
    if span is None:
        return gaussian_kernel(size, sigma, other, angle)
    beta = random.uniform(span[0], 1) if random.random() < 0.5 else random.uniform(1, span[1])
    return gaussian_kernel(size, sigma, other, angle, beta, plateau=kind.startswith("plateau"))


def gaussian_kernel(
    size: int, sigma_x: float, sigma_y: float, angle: float, beta: float = 1.0, plateau: bool = False
) -> np.ndarray:
    """exp(-d^beta / 2), or 1 / (1 + d^beta) with a plateau, d the squared Mahalanobis distance; (size, size), sum 1.

    `sigma_x` and `sigma_y` are in pixels along axes rotated by `angle` radians.
    """
    side = np.arange(size) - size // 2
    x, y = np.meshgrid(side, side)
    along = (x * math.cos(angle) + y * math.sin(angle)) / sigma_x
    across = (y * math.cos(angle) - x * math.sin(angle)) / sigma_y
    distance = (along**2 + across**2) ** beta
    kernel = 1 / (1 + distance) if plateau else np.exp(-distance / 2)
    result: np.ndarray = kernel / kernel.sum()
    return result


def sinc_kernel(size: int, cutoff: float) -> np.ndarray:
    """The circular low-pass filter of `cutoff` radians per pixel, (size, size), sum 1."""
    side = np.arange(size) - size // 2
    radius = np.hypot(*np.meshgrid(side, side))
    with np.errstate(invalid="ignore", divide="ignore"):
        kernel = cutoff * j1(cutoff * radius) / (2 * np.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * np.pi)
    result: np.ndarray = kernel / kernel.sum()
    return result


def _ringing(size: int, random: Generator) -> np.ndarray:
    return _padded(sinc_kernel(int(random.choice(_SIZES)), random.uniform(np.pi / 3, np.pi)), size)


def _padded(kernel: np.ndarray, size: int) -> np.ndarray:
    # A kernel larger than `size` is cropped and renormalised.
    cut = max(0, (len(kernel) - size) // 2)
    kernel = kernel[cut : len(kernel) - cut, cut : len(kernel) - cut]
    result: np.ndarray = (np.pad(kernel, (size - len(kernel)) // 2) / kernel.sum()).astype(np.float32)
    return result


def _resized(pixels: np.ndarray, height: int, width: int, order: Order, random: Generator) -> np.ndarray:
    kind = int(random.choice(3, p=np.asarray(order.resize_prob)))
    low, high = order.resize_range
    factor = (random.uniform(1, high), random.uniform(low, 1), 1.0)[kind]
    size = (max(1, int(width * factor)), max(1, int(height * factor)))
    return cv2.resize(pixels, size, interpolation=_interpolation(random))


def _interpolation(random: Generator) -> int:
    return _INTERPOLATIONS[int(random.integers(3))]


def _noisy(pixels: np.ndarray, order: Order, random: Generator) -> np.ndarray:
    gray = random.random() < order.gray_noise_prob
    if random.random() < order.gaussian_noise_prob:
        shape = pixels.shape[:2] if gray else pixels.shape
        noise = random.standard_normal(shape, np.float32) * np.float32(_uniform(order.noise_range, random) / 255)
    else:
        noise = _poisson(pixels, gray, random) * np.float32(_uniform(order.poisson_scale_range, random))
    return np.asarray(np.clip(pixels + (noise[..., None] if gray else noise), 0, 1), np.float32)


def _poisson(pixels: np.ndarray, gray: bool, random: Generator) -> np.ndarray:
    """Photon noise: a white pixel has as many photons as the image has levels, rounded up to a power of two."""
    source = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if gray else pixels
    levels = np.rint(np.clip(source, 0, 1) * 255)
    used = np.count_nonzero(np.bincount(levels.astype(np.uint8).ravel()))
    photons = 2 ** math.ceil(math.log2(max(2, int(used))))
    exact = levels / 255
    return np.asarray(random.poisson(exact * photons) / photons - exact, np.float32)


def _uniform(span: Range, random: Generator) -> float:
    return float(random.uniform(*span))


def sharpened(image: np.ndarray, weight: float = 0.5, radius: int = 50, threshold: float = 10) -> np.ndarray:
    """Unsharp masking at edges, as Real-ESRGAN sharpens its ground truth (BasicSR's `usm_sharp`).

    Args:
        image: uint8 (H, W, 3).
        weight: factor of the difference to the blurred image that is added.
        radius: of the blur, in pixels.
        threshold: in grey levels; smaller differences are not sharpened.

    Returns:
        uint8 (H, W, 3).
    """
    size = radius + 1 - radius % 2
    pixels = image.astype(np.float32) / 255
    detail = pixels - cv2.GaussianBlur(pixels, (size, size), 0)
    mask = cv2.GaussianBlur((np.abs(detail) * 255 > threshold).astype(np.float32), (size, size), 0)
    sharp = np.clip(pixels + weight * detail, 0, 1)
    return np.rint((mask * sharp + (1 - mask) * pixels) * 255).astype(np.uint8)
