"""Proof that an exported file computes what torch computed: LR/SR pairs with a tolerance, carried in its metadata.

`proof_of` makes it for a model; `replay` runs the pairs of a file on an engine. The seals beside the pairs
(`srkd.inference.backends.seal`) find a file that was changed.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from srkd.errors import SrkdError
from srkd.inference.backends.engine import Bytes
from srkd.inference.calibration import FP32_DIFFERENCE, closeness
from srkd.inference.model import Model

_HEIGHT, _WIDTH = 20, 24
_MOST_SIDE, _MOST_PAIRS = 1024, 16  # of a file's proof, which is untrusted
_MARGIN, _CLOSEST = 3.0, 60.0  # dB: processors round int8 and fp16 differently; closer than _CLOSEST is equal

Pair = tuple[Bytes, Bytes]


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be from SR: by `levels` of 255 at most; or, in reduced precision, `psnr` dB at least."""

    levels: int | None = None
    psnr: float | None = None

    @classmethod
    def of(cls, precision: str, lowest: float) -> Tolerance:
        """For a precision whose lowest PSNR over the pairs was `lowest` dB when it was exported."""
        if precision == "fp32":
            return cls(levels=FP32_DIFFERENCE)
        return cls(psnr=round(min(lowest, _CLOSEST) - _MARGIN, 1))

    def __str__(self) -> str:
        return f"at least {self.psnr:g} dB" if self.levels is None else f"at most {self.levels} level(s)"

    def accepts(self, lowest: float, largest: int) -> bool:
        """Whether the lowest PSNR in dB, or the largest difference in levels, is within it."""
        return largest <= self.levels if self.levels is not None else lowest >= (self.psnr or 0)


@dataclass(frozen=True)
class Replay:
    """An engine's outputs for the pairs of a file: lowest PSNR in dB and largest difference in levels to their SR."""

    lowest: float
    largest: int
    tolerance: Tolerance

    @property
    def accepted(self) -> bool:
        return self.tolerance.accepts(self.lowest, self.largest)


def example_images() -> list[Bytes]:
    """Three LR images, uint8 (20, 24, 3): smooth colours with an edge, fine diagonals, blocks with black and white."""
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    smooth = np.stack([x * 10, y * 12, 255 - x * 5 - y * 6], -1)
    smooth[(x - 12) ** 2 + (y - 9) ** 2 < 40] = (230, 60, 20)
    lines = np.stack([(x * 3 + y * 5) % 8 * 30, (x + 2 * y) % 6 * 45, (x * y) % 16 * 16], -1)
    blocks = np.stack([(x // 4 + y // 3) % 2 * 255, (x // 5) % 3 * 127, (y // 4 + x // 7) % 4 * 85], -1)
    return [each.astype(np.uint8) for each in (smooth, lines, blocks)]


def pairs_of(exact: Model) -> list[Pair]:
    """The example images, and the outputs of a model in torch fp32."""
    return [(lr, exact(lr[None])[0]) for lr in example_images()]


def proof_of(pairs: Sequence[Pair], model: Model) -> dict[str, Any]:
    """The proof of a converted model, as plain data for its metadata; the tolerance follows from its precision."""
    lowest, _ = _distance(model, pairs)
    tolerance = Tolerance.of(model.backend[1], lowest)
    known = {key: value for key, value in vars(tolerance).items() if value is not None}
    return {"pairs": [{"lr": _png(lr), "sr": _png(sr)} for lr, sr in pairs], "tolerance": known}


def replay(model: Model, proof: Mapping[str, Any], origin: str) -> Replay:
    """Run the pairs of a file's proof on a model.

    Raises:
        SrkdError: an incomplete proof, which names the file `origin`; as `Model.__call__`.
    """
    pairs, tolerance = _read(proof, model.scale, origin)
    return Replay(*_distance(model, pairs), tolerance)


def _distance(model: Model, pairs: Sequence[Pair]) -> tuple[float, int]:
    return closeness([model(lr[None])[0] for lr, _ in pairs], [sr for _, sr in pairs])


def _read(proof: Mapping[str, Any], scale: int, origin: str) -> tuple[list[Pair], Tolerance]:
    try:
        tolerance = Tolerance(**proof["tolerance"])
        known = [value for value in vars(tolerance).values() if value is not None]
        if len(known) != 1 or not 0 <= float(known[0]) < 1000 or not 0 < len(proof["pairs"]) <= _MOST_PAIRS:
            raise ValueError("its tolerance or number of pairs")
        pairs = [(_pixels(pair["lr"]), _pixels(pair["sr"])) for pair in proof["pairs"]]
        if any(sr.shape != (lr.shape[0] * scale, lr.shape[1] * scale, 3) for lr, sr in pairs):
            raise ValueError("its sizes")
        return pairs, tolerance
    except Exception as error:  # untrusted data
        raise SrkdError(f"{origin}: its LR/SR pairs cannot be read: {error}") from error


def _png(pixels: Bytes) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def _pixels(text: str) -> Bytes:
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
        if max(image.size) > _MOST_SIDE or image.mode != "RGB":
            raise ValueError(f"an image of {image.size[0]}x{image.size[1]}, {image.mode}")
        return np.array(image)
