"""What one server accepts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from srkd.errors import SrkdError


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Args:
        megabytes: of one upload, in units of 1,000,000 bytes.
        megapixels: of one result, in millions of pixels. The decoded input and the result of one image are in memory
            at a time, the result only if its format is not written row by row (PNG and TIFF are).
        images: how many images are in the queue, being uploaded, waiting, running or finished, before further ones are
            rejected.

    Raises:
        SrkdError: a limit that is not positive and finite.
    """

    megabytes: float = 100
    megapixels: float = 200
    images: int = 200

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise SrkdError(f"the limit of {name} must be above 0 and finite, got {value:g}")

    @property
    def bytes(self) -> int:
        return int(self.megabytes * 1e6)

    def check_result(self, height: int, width: int, scale: float) -> None:
        """Raise SrkdError if the result of an image of this size exceeds `megapixels`."""
        pixels = height * width * scale**2 / 1e6
        if pixels > self.megapixels:
            raise SrkdError(
                f"{width}x{height} at x{scale:g} has {pixels:,.0f} megapixels, more than the limit of "
                f"{self.megapixels:g}: crop it, take a smaller factor, or start the server with --max-megapixels"
            )
