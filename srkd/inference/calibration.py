"""Images for int8 calibration and for measuring the accuracy and speed of engines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from srkd.errors import SrkdError
from srkd.inference.backends.engine import Bytes, CannotRunError
from srkd.inference.model import Model
from srkd.metrics.psnr import pooled, psnr
from srkd.metrics.scores import Protocol, score

DEFAULT = "scikit_image"  # free photographs of an installed package: no download
_SIDE = 160
FP32_DIFFERENCE = 1  # levels of 255: the order of summation changes the rounding
_OTHER_SIZES = ((37, 51), (72, 46))  # height and width
_MIN_PSNR = 25.0  # dB; any usable reduced precision exceeds it


@dataclass(frozen=True)
class ImagePair:
    """LR (h, w, 3) and HR (scale h, scale w, 3), uint8, of an image; `grey` as `srkd.metrics.scores.planes`."""

    lr: Bytes
    hr: Bytes
    grey: bool

    def middle(self, scale: int, largest: int) -> ImagePair:
        """The middle, at most `largest` pixels of LR a side."""
        height, width = (min(side, largest) for side in self.lr.shape[:2])
        top, left = (self.lr.shape[0] - height) // 2, (self.lr.shape[1] - width) // 2
        hr = self.hr[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
        return ImagePair(np.ascontiguousarray(self.lr[top : top + height, left : left + width]), hr, self.grey)


@dataclass(frozen=True)
class ImagePairs:
    """Image pairs with the protocol to score them by."""

    name: str
    pairs: list[ImagePair]
    protocol: Protocol

    @property
    def inputs(self) -> list[Bytes]:
        return [pair.lr for pair in self.pairs]

    def smaller(self, side: int, count: int, scale: int) -> ImagePairs:
        """The middles, at most `side` pixels of LR, of the first `count` images."""
        return ImagePairs(self.name, [pair.middle(scale, side) for pair in self.pairs[:count]], self.protocol)

    def predictions(self, model: Model) -> list[Bytes]:
        """The output of a model for each LR image."""
        return [model(pair.lr[None])[0] for pair in self.pairs]

    def psnr(self, predictions: list[Bytes]) -> float:
        """Mean PSNR of the outputs against HR, in dB."""
        return float(np.mean(self._each(predictions)))

    def pooled_psnr(self, predictions: list[Bytes]) -> float:
        """PSNR of the MSE over all images: smooth images, which int8 degrades most, do not dominate it."""
        return pooled(self._each(predictions))

    def _each(self, predictions: list[Bytes]) -> list[float]:
        pairs = zip(predictions, self.pairs, strict=True)
        return [score(prediction, pair.hr, self.protocol, pair.grey, ["psnr"])["psnr"] for prediction, pair in pairs]


def evaluation_images(data: str, scale: int, count: int | None = None) -> ImagePairs:
    """The first `count` images of an evaluation set, or all, whole.

    Raises:
        SrkdError: as `open_set`; fewer images than `count`.
    """
    from srkd.data.sets import open_set  # data sets and pydantic: 0.25 s, for a choice that is usually cached

    name, store = open_set(data, scale)
    if count is not None and not 0 < count <= len(store):
        raise SrkdError(f"{data}: {len(store)} calibration images, {count} were requested")
    first = range(len(store) if count is None else count)
    pairs = [ImagePair(store.lr(i).copy(), store.hr(i), store.is_grey(i)) for i in first]
    return ImagePairs(name, pairs, Protocol.default(scale, lr="matlab_bicubic"))


def calibration_images(scale: int, data: str = DEFAULT, count: int | None = None) -> ImagePairs:
    """Centre crops, at most 160 x 160 in LR. Arguments and errors as `evaluation_images`."""
    whole = evaluation_images(data, scale, count)
    return ImagePairs(whole.name, [pair.middle(scale, _SIDE) for pair in whole.pairs], whole.protocol)


def closeness(predictions: list[Bytes], reference: list[Bytes]) -> tuple[float, int]:
    """(lowest PSNR of an image in dB, largest difference in levels) between two models' outputs, all channels."""
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(predictions, reference, strict=True)]
    return min(psnr(a, b) for a, b in pairs), int(max(np.abs(a - b).max() for a, b in pairs))


def check_sizes(model: Model, exact: Model, image: Bytes) -> None:
    """Run a model at two sizes other than its example input's, which an exporter may have baked in as constants.

    Args:
        exact: the model in torch fp32; a reduced precision need only be close to it.
        image: uint8 (H, W, 3), tiled to make the inputs.

    Raises:
        CannotRunError: the engine fails at one of the sizes, or its output differs there.
    """
    for height, width in _OTHER_SIZES:
        x = tiled(image, height, width)
        lowest, largest = closeness([model(x)[0]], [exact(x)[0]])
        runtime, precision = model.backend
        if (precision == "fp32" and largest > FP32_DIFFERENCE) or lowest < _MIN_PSNR:
            imprecise = "" if precision == "fp32" else ", or the precision is too low"
            raise CannotRunError(
                f"{runtime} {precision} differs by {largest} levels at {width}x{height}: sizes are constants in it"
                f"{imprecise}"
            )


def tiled(image: Bytes, height: int, width: int) -> Bytes:
    """An image repeated and cropped to (1, height, width, 3): an input of any size for timing."""
    down, across = -(-height // image.shape[0]), -(-width // image.shape[1])
    return np.ascontiguousarray(np.tile(image, (down, across, 1))[None, :height, :width])
