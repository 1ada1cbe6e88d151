"""Real pictures to measure networks with: ranges of activations for int8, what a precision loses, how long it takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from srkd.deploy.runtimes.engine import Bytes, CannotRunError, Engine
from srkd.errors import SrkdError
from srkd.sr.evaluate import open_set
from srkd.sr.metrics import Protocol, psnr, score

DEFAULT = "scikit_image"  # free photographs that come with an installed package: nothing is downloaded
_SIDE = 160
FP32_DIFFERENCE = 1  # levels of 255: another order of summation rounds differently
_OTHER_SIZES = ((37, 51), (72, 46))  # height and width
_ALIKE = 25.0  # dB, which any reduced precision that is of use surpasses


@dataclass(frozen=True)
class Pair:
    """LR (h, w, 3) and HR (scale h, scale w, 3), uint8, of a picture; `grey` as `srkd.sr.metrics.planes`."""

    lr: Bytes
    hr: Bytes
    grey: bool


@dataclass(frozen=True)
class Pictures:
    """Pictures with the protocol that they are scored by."""

    name: str
    pairs: list[Pair]
    protocol: Protocol

    @property
    def inputs(self) -> list[Bytes]:
        return [pair.lr for pair in self.pairs]

    def answers(self, engine: Engine) -> list[Bytes]:
        """What an engine makes of each."""
        return [engine(pair.lr[None])[0] for pair in self.pairs]

    def psnr(self, answers: list[Bytes]) -> float:
        """Mean PSNR of answers against HR, in dB."""
        return float(np.mean(self._each(answers)))

    def pooled_psnr(self, answers: list[Bytes]) -> float:
        """PSNR of the mean squared error over all pictures: smooth ones, which int8 hurts most, do not decide alone."""
        return float(-10 * np.log10(np.mean(10 ** (-np.array(self._each(answers)) / 10))))

    def _each(self, answers: list[Bytes]) -> list[float]:
        pairs = zip(answers, self.pairs, strict=True)
        return [score(answer, pair.hr, self.protocol, pair.grey, ["psnr"])["psnr"] for answer, pair in pairs]


def evaluation_pictures(data: str, scale: int) -> Pictures:
    """The whole pictures of an evaluation set. Raises SrkdError as `open_set`."""
    name, store = open_set(data, scale)
    pairs = [Pair(store.lr(i).copy(), store.hr(i), store.is_grey(i)) for i in range(len(store))]
    return Pictures(name, pairs, Protocol.default(scale, lr="matlab_bicubic"))


def calibration_pictures(scale: int, data: str = DEFAULT, count: int | None = None) -> Pictures:
    """The middles, at most 160 x 160 of LR, of the first `count` pictures of a set, or of all.

    Raises:
        SrkdError: as `open_set`; fewer pictures than `count`.
    """
    whole = evaluation_pictures(data, scale)
    if count is not None and not 0 < count <= len(whole.pairs):
        raise SrkdError(f"{data}: {len(whole.pairs)} calibration pictures, {count} were asked for")
    return Pictures(whole.name, [_middle(pair, scale) for pair in whole.pairs[:count]], whole.protocol)


def _middle(pair: Pair, scale: int) -> Pair:
    height, width = (min(side, _SIDE) for side in pair.lr.shape[:2])
    top, left = (pair.lr.shape[0] - height) // 2, (pair.lr.shape[1] - width) // 2
    hr = pair.hr[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
    return Pair(np.ascontiguousarray(pair.lr[top : top + height, left : left + width]), hr, pair.grey)


def closeness(answers: list[Bytes], reference: list[Bytes]) -> tuple[float, int]:
    """(lowest PSNR of a picture in dB, largest difference in levels) between two engines' answers, all channels."""
    pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(answers, reference, strict=True)]
    return min(psnr(a, b) for a, b in pairs), int(max(np.abs(a - b).max() for a, b in pairs))


def check_sizes(engine: Engine, exact: Engine, picture: Bytes) -> None:
    """Try an engine at two sizes that it was not made with: an exporter may have taken those for constants.

    Args:
        exact: torch's fp32; a reduced precision need only be near it.
        picture: (H, W, 3) of which inputs are made.

    Raises:
        CannotRunError: it fails at one of them, or gives something else there.
    """
    for height, width in _OTHER_SIZES:
        x = tiled(picture, height, width)
        lowest, largest = closeness([engine(x)[0]], [exact(x)[0]])
        if (engine.precision == "fp32" and largest > FP32_DIFFERENCE) or lowest < _ALIKE:
            raise CannotRunError(f"{engine} differs by {largest} levels at {width}x{height}: sizes are constants in it")


def tiled(picture: Bytes, height: int, width: int) -> Bytes:
    """(1, height, width, 3) of copies of a picture side by side: an input of any size to measure time with."""
    down, across = -(-height // picture.shape[0]), -(-width // picture.shape[1])
    return np.ascontiguousarray(np.tile(picture, (down, across, 1))[None, :height, :width])
