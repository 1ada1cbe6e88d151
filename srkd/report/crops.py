"""Compare details: the same region of several versions of one image, as a PNG sheet or for the HTML report.

The default region is the one where bicubic differs most from the ground truth.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.report.tables import printable

Pixels = NDArray[np.uint8]
_INK, _SOFT, _PAPER = (27, 31, 36), (92, 99, 110), (255, 255, 255)
_GAP, _TILE, _LABEL, _NOTE = 12, 240, 17, 14  # in pixels: gap between tiles, side of a tile, font sizes


class Box(NamedTuple):
    """A region of an image, in pixels of the high resolution."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: Pixels) -> Pixels:
        """Crop an array (H, W, ...) to this region."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def busiest(hr: Pixels, bicubic: Pixels, size: int = 64) -> Box:
    """The square of side `size` (or a whole smaller image) with the largest sum of absolute differences.

    Args:
        hr, bicubic: uint8 (H, W, 3) of the same size.

    Raises:
        SrkdError: the sizes differ.
    """
    _same_size({"HR": hr, "bicubic": bicubic})
    height, width = (min(size, side) for side in hr.shape[:2])
    difference = np.abs(hr.astype(np.int64) - bicubic).reshape(*hr.shape[:2], -1).sum(axis=2)
    total = np.pad(difference.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    top, left = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return Box(int(top), int(left), height, width)


def section(images: Mapping[str, Pixels], box: Box, notes: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The `crops` part of an HTML section: the region of every image as a base64 PNG, with label and note.

    Args:
        images: label to uint8 (H, W, 3) RGB, all of one size.
        notes: label to a short text, e.g. its PSNR.

    Raises:
        SrkdError: the images differ in size, or the box lies outside them.
    """
    _check(images, box)
    items = [
        {"label": label, "note": (notes or {}).get(label, ""), "png": base64.b64encode(_png(box.cut(p))).decode()}
        for label, p in images.items()
    ]
    return {"items": items}


def sheet(
    images: Mapping[str, Pixels],
    box: Box | None = None,
    notes: Mapping[str, str] | None = None,
    reference: tuple[str, str] = ("HR", "bicubic"),
) -> bytes:
    """One PNG with the whole image, the region marked in it, and the labelled regions of all versions next to it.

    Args:
        images: label to uint8 (H, W, 3) RGB, all of one size; the first is shown as the whole image.
        box: the region; by default the `busiest` between the two images that `reference` names.
        notes: label to a short text under it, e.g. its PSNR.

    Raises:
        SrkdError: the images differ in size, the box lies outside them, or there is no box and no reference.
    """
    if box is None:
        missing = [name for name in reference if name not in images]
        if missing:
            raise SrkdError(f"no region given, and no image named {' and '.join(missing)} to select one")
        box = busiest(images[reference[0]], images[reference[1]])
    _check(images, box)
    tiles = [_tile(box.cut(p), label, (notes or {}).get(label, "")) for label, p in images.items()]
    columns = max(2, -(-len(tiles) // 2)) if len(tiles) > 3 else len(tiles)
    grid = _grid(tiles, columns)
    whole = _overview(next(iter(images.values())), box, grid.shape[0])
    return _png(np.pad(np.concatenate([whole, grid], axis=1), ((_GAP, 0), (_GAP, 0), (0, 0)), constant_values=255))


def _tile(detail: Pixels, label: str, note: str) -> Pixels:
    """A detail magnified by an integer factor, above its label, on white."""
    zoom = max(1, round(_TILE / max(detail.shape[:2])))
    large = detail.repeat(zoom, axis=0).repeat(zoom, axis=1)
    width = max(large.shape[1], _TILE // 2)
    canvas = np.full((large.shape[0] + _LABEL + _NOTE + 2 * _GAP, width + _GAP, 3), 255, np.uint8)
    canvas[: large.shape[0], : large.shape[1]] = large
    canvas = _write(canvas, label, (0, large.shape[0] + 6), _LABEL, _INK, width)
    return _write(canvas, note, (0, large.shape[0] + 10 + _LABEL), _NOTE, _SOFT, width)


def _grid(tiles: list[Pixels], columns: int) -> Pixels:
    blank = np.full_like(tiles[0], 255)
    tiles = tiles + [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def _overview(image: Pixels, box: Box, height: int) -> Pixels:
    """The whole image with the box outlined, on a white canvas of exactly `height`."""
    from PIL import Image, ImageDraw

    room = height - _LABEL - _NOTE - 2 * _GAP
    factor = min(room / image.shape[0], 1.5 * room / image.shape[1])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    small = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (size[0] + _GAP, height), _PAPER)
    canvas.paste(small, (0, 0))
    edges = [round(e * factor) for e in (box.left, box.top, box.left + box.width, box.top + box.height)]
    draw = ImageDraw.Draw(canvas)
    draw.rectangle(edges, outline=_INK, width=4)  # dark with a light inside is visible on any image
    draw.rectangle([edges[0] + 1, edges[1] + 1, edges[2] - 1, edges[3] - 1], outline=_PAPER, width=2)
    return np.asarray(canvas)


def _write(canvas: Pixels, text: str, at: tuple[int, int], size: int, ink: tuple[int, int, int], room: int) -> Pixels:
    """Draw text on an array; text wider than `room` pixels is cut with an ellipsis."""
    from PIL import Image, ImageDraw, ImageFont

    image, font, text = Image.fromarray(canvas), ImageFont.load_default(size), printable(text)
    draw = ImageDraw.Draw(image)
    if draw.textlength(text, font) > room:
        while text and draw.textlength(text + "...", font) > room:
            text = text[:-1]
        text += "..."
    draw.text(at, text, ink, font)
    return np.asarray(image)


def _png(image: Pixels) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1])


def _check(images: Mapping[str, Pixels], box: Box) -> None:
    height, width = _same_size(images)
    inside = 0 <= box.top <= box.top + box.height <= height and 0 <= box.left <= box.left + box.width <= width
    if not inside or not box.height * box.width:
        raise SrkdError(f"the region {tuple(box)} (top, left, height, width) is not inside images of {width}x{height}")


def _same_size(images: Mapping[str, Pixels]) -> tuple[int, int]:
    sizes = {label: f"{p.shape[1]}x{p.shape[0]}" for label, p in images.items()}
    if len(set(sizes.values())) != 1:
        listed = ", ".join(f"{label} {size}" for label, size in sizes.items()) or "none"
        raise SrkdError(f"images to compare must have the same size: {listed}")
    height, width = next(iter(images.values())).shape[:2]
    return height, width
