"""The georeference of a TIFF file, for the same image at another size.

OGC GeoTIFF 1.1 (19-008r4): raster space counts pixels, so the mapping to the ground changes with the pixel size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from srkd.images.ifd import Tag, numbers

_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _KEYS = 33550, 33922, 34264, 34735
# Including the keys' texts and numbers, GDAL's metadata and its no-data value.
TAGS = frozenset({_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _KEYS, 34736, 34737, 42112, 42113})
_NUMBERS = (_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _KEYS)
_RASTER_TYPE, _PIXEL_IS_POINT, _DOUBLE = 1025, 2, 12


@dataclass(frozen=True)
class Georeference:
    """The tags of an image of size (height, width).

    Raises:
        ValueError: tags that are not numbers, or too few of them.
    """

    tags: Mapping[int, Tag]
    height: int
    width: int

    def __post_init__(self) -> None:
        counts = {tag: len(self.tags[tag].values()) for tag in _NUMBERS if tag in self.tags}
        wrong_ties = counts.get(_TIE_POINTS, 6) % 6
        if counts.get(_PIXEL_SCALE, 3) < 2 or counts.get(_TRANSFORMATION, 16) < 16 or wrong_ties:
            raise ValueError("a georeference with too few numbers")

    def scaled(self, height: int, width: int) -> dict[int, Tag]:
        """The tags for the same area in an image of another size."""
        down, across = height / self.height, width / self.width
        tags = dict(self.tags)
        # If coordinates are of pixel centres, the first centre moves towards the corner as pixels shrink.
        shift = 0.5 if self._pixel_is_point() else 0.0
        if _PIXEL_SCALE in tags:
            x, y, *rest = tags[_PIXEL_SCALE].values()
            tags[_PIXEL_SCALE] = numbers(_DOUBLE, x / across, y / down, *rest)
        if _TIE_POINTS in tags:
            ties = list(tags[_TIE_POINTS].values())
            ties[0::6] = [(i + shift) * across - shift for i in ties[0::6]]
            ties[1::6] = [(j + shift) * down - shift for j in ties[1::6]]
            tags[_TIE_POINTS] = numbers(_DOUBLE, *ties)
        if _TRANSFORMATION in tags:
            matrix = list(tags[_TRANSFORMATION].values())
            for row in (0, 4, 8):
                a, b = matrix[row] / across, matrix[row + 1] / down
                matrix[row + 3] += shift * (a - matrix[row] + b - matrix[row + 1])
                matrix[row], matrix[row + 1] = a, b
            tags[_TRANSFORMATION] = numbers(_DOUBLE, *matrix)
        return tags

    def _pixel_is_point(self) -> bool:
        keys = self.tags[_KEYS].values() if _KEYS in self.tags else ()
        return any(keys[i] == _RASTER_TYPE and keys[i + 3] == _PIXEL_IS_POINT for i in range(4, len(keys) - 3, 4))
