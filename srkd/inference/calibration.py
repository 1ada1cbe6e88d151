"""Real images to measure networks with: ranges of activations for int8, what a precision loses, how long it takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from srkd.errors import SrkdError
from srkd.inference.backends.engine import Bytes, CannotRunError, Engine
from srkd.metrics.evaluation import open_set
from srkd.metrics.scores import Protocol, psnr, score

DEFAULT = "scikit_image"  # free photographs that come with an installed package: nothing is downloaded
_SIDE = 160
FP32_DIFFERENCE = 1  # levels of 255: another order of summation rounds differently
_OTHER_SIZES = ((37, 51), (72, 46))  # height and width
_ALIKE = 25.0  # dB, which any reduced precision that is of use surpasses


@dataclass(frozen=True)
class Pair:
    """LR (h, w, 3) and HR (scale h, scale w, 3), uint8, of an image; `grey` as `srkd.metrics.scores.planes`."""

    lr: Bytes
    hr: Bytes
    grey: bool


@dataclass(frozen=True)
class ImagePairs:
    """Images with the protocol that they are scored by."""

    name: str
    pairs: list[Pair]
    protocol: Protocol

    @property
    def inputs(self) -> list[Bytes]:
        return [pair.lr for pair in self.pairs]

    def smaller(self, side: int, count: int, scale: int) -> ImagePairs:
        """The middles, at most `side` pixels of LR, of the first `count` images."""
        return ImagePairs(self.name, [_middle(pair, scale, side) for pair in self.pairs[:count]], self.protocol)

    def predictions(self, engine: Engine) -> list[Bytes]:
        """What an engine makes of each."""
        return [engine(pair.lr[None])[0] for pair in self.pairs]

    def psnr(self, predictions: list[Bytes]) -> float:
        """Mean PSNR of answers against HR, in dB."""
        return float(np.mean(self._each(predictions)))

    def pooled_psnr(self, predictions: list[Bytes]) -> float:
        """PSNR of the mean squared error over all images: smooth ones, which int8 hurts most, do not decide alone."""
        return float(-10 * np.log10(np.mean(10 ** (-np.array(self._each(predictions)) / 10))))

    def _each(self, predictions: list[Bytes]) -> list[float]:
        pairs = zip(predictions, self.pairs, strict=True)
        return [score(prediction, pair.hr, self.protocol, pair.grey, ["psnr"])["psnr"] for prediction, pair in pairs]


def evaluation_images(data: str, scale: int) -> ImagePairs:
    """The whole images of an evaluation set. Raises SrkdError as `open_set`."""
    name, store = open_set(data, scale)
    pairs = [Pair(store.lr(i).copy(), store.hr(i), store.is_grey(i)) for i in range(len(store))]
    return ImagePairs(name, pairs, Protocol.default(scale, lr="matlab_bicubic"))


def calibration_images(scale: int, data: str = DEFAULT, count: int | None = None) -> ImagePairs:
    """The middles, at most 160 x 160 of LR, of the first `count` images of a set, or of all.

    Raises:
        SrkdError: as `open_set`; fewer images than `count`.
    """
    whole = evaluation_images(data, scale)
    if count is not None and not 0 < count <= len(whole.pairs):
        raise SrkdError(f"{data}: {len(whole.pairs)} calibration images, {count} were asked for")
    return ImagePairs(whole.name, [_middle(pair, scale) for pair in whole.pairs[:count]], whole.protocol)


def _middle(pair: Pair, scale: int, largest: int = _SIDE) -> Pair:
    height, width = (min(side, largest) for side in pair.lr.shape[:2])
    top, left = (pair.lr.shape[0] - height) // 2, (pair.lr.shape[1] - width) // 2
    hr = pair.hr[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
    return Pair(np.ascontiguousarray(pair.lr[top : top + height, left : left + width]), hr, pair.grey)


def closeness(predictions: list[Bytes], reference: list[Bytes]) -> tuple[float, int]:
    """(lowest PSNR of an image in dB, largest difference in levels) between two engines' answers, all channels."""
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(predictions, reference, strict=True)]
    return min(psnr(a, b) for a, b in pairs), int(max(np.abs(a - b).max() for a, b in pairs))


def check_sizes(engine: Engine, exact: Engine, image: Bytes) -> None:
    """Try an engine at two sizes that it was not made with: an exporter may have taken those for constants.

    Args:
        exact: torch's fp32; a reduced precision need only be near it.
        image: (H, W, 3) of which inputs are made.

    Raises:
        CannotRunError: it fails at one of them, or gives something else there.
    """
    for height, width in _OTHER_SIZES:
        x = tiled(image, height, width)
        lowest, largest = closeness([engine(x)[0]], [exact(x)[0]])
        if (engine.precision == "fp32" and largest > FP32_DIFFERENCE) or lowest < _ALIKE:
            raise CannotRunError(f"{engine} differs by {largest} levels at {width}x{height}: sizes are constants in it")


def tiled(image: Bytes, height: int, width: int) -> Bytes:
    """(1, height, width, 3) of copies of an image side by side: an input of any size to measure time with."""
    down, across = -(-height // image.shape[0]), -(-width // image.shape[1])
    return np.ascontiguousarray(np.tile(image, (down, across, 1))[None, :height, :width])
