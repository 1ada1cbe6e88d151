"""OpenCV as a decoder of 16-bit images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def decode(data: bytes) -> NDArray[Any]:
    """Samples (H, W) or (H, W, C) in RGB(A) order, in the file's own depth, not turned.

    Raises:
        ValueError: OpenCV cannot decode it.
    """
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our own error says it
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("OpenCV cannot decode it")
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(pixels.shape[2] if pixels.ndim == 3 else 1)
    return pixels[..., order] if order else pixels
