"""The page on degradations, with a sheet of examples made from freely licensed photographs of scikit-image."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from srkd.data.degradations import SLIGHT, Degradation, Levels
from srkd.data.patches import generator
from srkd.docs.markdown import code, table

_SIDE, _SCALE, _ZOOM, _GAP = 256, 4, 2, 4
_LEVELS = {
    "clean": Levels(clean_prob=1.0),
    "slight": Levels(slight_prob=1.0),
    "strong": Levels(),
}
# Photographs of scikit-image with the corner (top, left) of what is shown.
_PHOTOS = {"astronaut": (0, 96), "chelsea": (20, 80), "coffee": (60, 200)}


def pages() -> Iterator[tuple[str, str | bytes]]:
    """Path and content of the page and its image."""
    yield "reference/degradations.png", sheet()
    yield "reference/degradations.md", page()


def sheet() -> bytes:
    """A PNG: a row for each level, with three examples of each photograph, in LR pixels magnified."""
    from skimage import data

    hr = [getattr(data, name)()[y : y + _SIDE, x : x + _SIDE] for name, (y, x) in _PHOTOS.items()]
    rows = []
    for row, levels in enumerate(_LEVELS.values()):
        tiles = [levels.apply(image, _SCALE, generator(row, 0, number)) for image in hr for number in range(3)]
        rows.append(np.concatenate([_framed(tile) for tile in tiles], 1))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _framed(tile: np.ndarray) -> np.ndarray:
    large = tile.repeat(_ZOOM, 0).repeat(_ZOOM, 1)
    return np.pad(large, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def page() -> str:
    """The page as Markdown; its numbers are those of the code."""
    first, second = Degradation().first, Degradation().second
    keys = ["blur_prob", "blur_sigma", "sinc_prob", "resize_prob", "resize_range", "gaussian_noise_prob"]
    keys += ["noise_range", "poisson_scale_range", "gray_noise_prob", "jpeg_range"]
    rows = [[code(key), *(_shown(getattr(order, key)) for order in (first, second, SLIGHT))] for key in keys]
    return (
        "\n\n".join(
            [
                "# Degradations",
                "The tasks `imitation` and `sr.real_esrgan` degrade photographs as Real-ESRGAN does: two passes of "
                "blur, resizing, noise and JPEG, then a sinc filter. Each patch has its own random degradation, which "
                "depends on the seed and the patch's number alone.",
                "Users' photographs are rarely that bad. `datasets.train.clean_prob` is the share of patches that are "
                "only downscaled by MATLAB's bicubic, and `slight_prob` that of patches with a slight blur, slight "
                "noise and one JPEG; the rest is degraded strongly. Rows: clean, slight, strong.",
                "![Examples of three photographs, clean, slightly and strongly degraded](degradations.png)",
                table(["key", "first pass", "second pass", "slight"], rows),
                "Keys of the second pass end in 2 in a recipe, and its `blur_prob2` is `second_blur_prob`: the names "
                "of Real-ESRGAN's option files, which work unchanged. In a slight degradation `resize_prob` has no "
                "effect.",
            ]
        )
        + "\n"
    )


def _shown(value: object) -> str:
    numbers = value if isinstance(value, tuple) else (value,)
    return (" to " if len(numbers) == 2 else ", ").join(f"{number:g}" for number in numbers)
