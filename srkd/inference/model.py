"""A trained network that upscales images: `srkd.load(name).upscale(image)`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srkd.errors import SrkdError
from srkd.images.resize import RowResizer
from srkd.inference import inputs
from srkd.inference.alpha import LUMA, SplitImage, nearest_rows, split_alpha
from srkd.inference.backends.engine import Engine
from srkd.inference.receptive_field import ReceptiveField, bytes_per_pixel, measure
from srkd.inference.tiles import MEMORY, Floats, tile_side, upscale_rows
from srkd.networks.infer import device_of, require_finite, run
from srkd.networks.sides import Padded
from srkd.trust import trusting

Pixels = NDArray[Any]
_LEVELS = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}
_NATIVE_BELOW = 20480
_WIDER = {np.dtype(np.uint16): np.int32}  # torch supports few operations on uint16


@dataclass
class Model:
    """A network in eval mode, (N, 3, H, W) RGB in [0, 1] to `scale` times the size, with its metadata.

    The network needs input sides that are multiples of `multiple`, at least `minimum`; `upscale` pads to that.
    `engine`, if set, upscales 8-bit images instead of the network; 16-bit and float images, and self-ensembles, always
    use the network.
    """

    network: nn.Module
    scale: int
    name: str = ""
    multiple: int = 1
    meta: dict[str, Any] = field(default_factory=dict)
    engine: Engine | None = None
    minimum: int = 1

    @classmethod
    def load(
        cls,
        name: str | Path,
        scale: int | None = None,
        device: torch.device | str | None = None,
        trust_code: bool = False,
    ) -> Model:
        """A model by zoo name or from a checkpoint file, on `device` (by default the CPU).

        Args:
            trust_code: whether the checkpoint may name a class `package.module:Class`, whose code then runs.

        Raises:
            SrkdError: as `srkd.networks.loading.load_network`.
        """
        from srkd.networks.loading import load_network

        with trusting(trust_code):
            loaded = load_network(name, scale)
        network, multiple, minimum = loaded.network, loaded.multiple, loaded.minimum
        if isinstance(network, Padded) and not network.sides.square:
            # Padded here instead: exporters would bake in the amount as a constant, and tiling depends on it.
            multiple, minimum, network = network.sides.multiple, network.sides.minimum, network.network
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(network.to(device), loaded.scale, loaded.name, multiple, loaded.meta, minimum=minimum)

    @cached_property
    def receptive_field(self) -> ReceptiveField:
        """The network's receptive field, measured when first needed: only tiling uses it."""
        field = measure(self._run, self.scale, self.device, self.multiple)
        return replace(field, minimum=self.minimum)

    @cached_property
    def bytes_per_pixel(self) -> float:
        """Approximate memory in bytes that the network needs per input pixel, measured when first needed."""
        return bytes_per_pixel(self._run, self.device)

    @property
    def device(self) -> torch.device:
        return device_of(self.network)

    @overload
    def upscale(
        self, image: inputs.Input, tile: int | None = ..., self_ensemble: bool = ..., outscale: float | None = ...
    ) -> Pixels: ...

    @overload
    def upscale(
        self, image: inputs.Several, tile: int | None = ..., self_ensemble: bool = ..., outscale: float | None = ...
    ) -> list[Pixels]: ...

    def upscale(
        self,
        image: inputs.Input | inputs.Several,
        tile: int | None = None,
        self_ensemble: bool = False,
        outscale: float | None = None,
    ) -> Pixels | list[Pixels]:
        """Upscale an image, or each of a list.

        Args:
            image: an array, (H, W), (H, W, 1) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB or (H, W, 4) RGBA, of
                uint8, uint16, or float32 or float64 in [0, 1] (computed in float32); the path of an image file; a
                Pillow image, which is rotated upright by its EXIF orientation, as a file is; or a list of any of these.
            tile: side of the tiles in input pixels, 0 for no tiling; None chooses by memory.
            self_ensemble: average over the 8 flips and rotations: slightly better, 8 times slower.
            outscale: the factor of the result, if not the network's, by bicubic resizing of the output.

        Returns:
            An array, `scale` (or `outscale`) times the size, with the same dtype, dimensions and channels; for a list,
            a list of arrays.

        Raises:
            SrkdError: None or another object that is not an image, an array of another dtype or shape, NaN or floats
                far outside [0, 1], a file that cannot be read, a bad tile or outscale; non-finite output.
        """
        if isinstance(image, (list, tuple)):
            return [self._one_of(number, each, tile, self_ensemble, outscale) for number, each in enumerate(image)]
        given = inputs.read(image)
        pixels = given.pixels
        shape = self.output_shape(pixels, outscale)
        result = np.empty(shape, pixels.dtype)
        filled = 0
        for rows in self.upscale_rows(pixels, tile, self_ensemble, outscale):
            result[filled : filled + len(rows)] = rows
            filled += len(rows)
        return given.like(result)

    def _one_of(self, number: int, image: Any, *options: Any) -> Pixels:
        """Upscale one image of a list. Raises SrkdError that names its index."""
        try:
            if isinstance(image, (list, tuple)):
                raise SrkdError("a list within a list; pass arrays, paths or Pillow images")
            return self.upscale(image, *options)
        except SrkdError as error:
            raise SrkdError(f"image {number} of the list: {error}") from error

    def output_shape(self, pixels: Pixels, outscale: float | None = None) -> tuple[int, int, int]:
        """The shape (H, W, C) of the result of `upscale` for (h, w, C)."""
        height, width, channels = pixels.shape
        return (*output_size(height, width, self.scale if outscale is None else outscale), channels)

    def upscale_rows(
        self, pixels: Pixels, tile: int | None = None, self_ensemble: bool = False, outscale: float | None = None
    ) -> Iterator[Pixels]:
        """As `upscale`, for (H, W, C), in blocks of rows from top to bottom: memory does not grow with the height."""
        size = self.output_shape(pixels, outscale)[:2]
        side = self.tile_side(pixels.shape[0], pixels.shape[1], tile)
        parts = split_alpha(pixels)
        colour = self._plane(parts.colour, side, self_ensemble, size)
        if parts.alpha is None:
            return (parts.merge(rows, None, None) for rows in colour)
        alpha = self._plane(parts.alpha, side, self_ensemble, size)
        if parts.hidden_colour is None:
            return (parts.merge(*rows, None) for rows in zip(colour, alpha, strict=True))
        if parts.hidden_is_data:
            hidden_colour = self._plane(parts.hidden_colour, side, self_ensemble, size)
            return (parts.merge(*rows) for rows in zip(colour, alpha, hidden_colour, strict=True))
        return _with_nearest_hidden(parts, parts.hidden_colour, size, zip(colour, alpha, strict=True))

    def tile_side(self, height: int, width: int, tile: int | None = None) -> int:
        """The tile side in input pixels; at least the larger side of the image if it is not tiled.

        Raises:
            SrkdError: a negative `tile`.
        """
        check_tile(tile)
        whole = max(height, width)
        if tile is not None:
            return tile or whole
        fits = height * width * self.bytes_per_pixel <= MEMORY
        return whole if fits else min(whole, tile_side(self.receptive_field, self.bytes_per_pixel))

    def _plane(self, plane: Pixels, side: int, self_ensemble: bool, size: tuple[int, int]) -> Iterator[Pixels]:
        """Upscaled rows of one plane (H, W, 1 or 3) in its dtype, resized to `size` if that differs from the output."""
        height, width, _ = plane.shape
        natural = (height * self.scale, width * self.scale)
        whole = side >= max(height, width)
        field = ReceptiveField(None) if whole else self.receptive_field
        if size == natural and (whole or field.exact):  # no further computation on the result

            def network(part: Pixels) -> Pixels:
                if self.engine is not None and part.dtype == np.uint8 and not self_ensemble:
                    return _run_engine(self.engine, part)
                return _quantised(self._through(part, self_ensemble), plane.dtype)

            return upscale_rows(plane, network, self.scale, field, side)
        rows = upscale_rows(plane, lambda part: self._through(part, self_ensemble), self.scale, field, side)
        if size != natural:
            resizer = RowResizer(natural, size)
            rows = (resizer.push(block) for block in rows)
        return (_quantised(block, plane.dtype) for block in rows)

    def _through(self, part: Pixels, self_ensemble: bool) -> Floats:
        """(h, w, 1 or 3) in the image's dtype to float32 in [0, 1], `scale` times the size, same channels."""
        if self.engine is not None and part.dtype == np.uint8 and not self_ensemble:
            return _run_engine(self.engine, part).astype(np.float32) / np.float32(255)
        return self._through_network(part, self_ensemble)

    @torch.inference_mode()
    def _through_network(self, part: Pixels, self_ensemble: bool) -> Floats:
        x = torch.from_numpy(np.array(part, _WIDER.get(part.dtype, part.dtype), order="C"))
        # [None] before the permutation: after it, the batch dimension would get a stride by which torch no longer
        # detects channels last, and convolutions in another layout round differently.
        x = x.to(self.device)[None].permute(0, 3, 1, 2).float() / _LEVELS[part.dtype]
        # Below this size torch uses another convolution kernel, which rounds differently, unless the batch is 2.
        x = x.expand(2 if 3 * x[0, 0].numel() <= _NATIVE_BELOW else 1, 3, -1, -1)
        y = self._run(x, self_ensemble)[0].float()
        require_finite(y)
        y = y.clamp_(0, 1)
        if part.shape[2] == 1:
            y = (y * torch.from_numpy(LUMA).to(y.device)[:, None, None]).sum(0, keepdim=True)
        return y.permute(1, 2, 0).cpu().numpy()

    def _run(self, x: Tensor, self_ensemble: bool = False) -> Tensor:
        """The network on float32 (N, 3, H, W) of any size."""
        x = x.contiguous(memory_format=torch.channels_last)
        return run(self.network, x, self.scale, self.multiple, self_ensemble, self.minimum)


def check_tile(tile: int | None) -> None:
    """Raise SrkdError for a tile side that is negative."""
    if tile is not None and tile < 0:
        raise SrkdError(f"tile must be 0 (none) or a number of pixels, got {tile}")


def output_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """Sides times `factor`, rounded, at least 1.

    Raises:
        SrkdError: a factor that is not a positive number.
    """
    if not 0 < factor < math.inf:
        raise SrkdError(f"outscale must be a positive number, got {factor}")
    return max(1, round(height * factor)), max(1, round(width * factor))


def _quantised(rows: Floats, dtype: np.dtype[Any]) -> Pixels:
    """[0, 1] to the levels of `dtype`, clipped (resizing overshoots), rounded half to even as `srkd.networks.infer`."""
    levels = _LEVELS[dtype]
    rows = np.clip(rows, 0, 1)
    if levels != 1:
        rows *= np.float32(levels)
    return rows if levels == 1 else np.rint(rows, out=rows).astype(dtype)


def _run_engine(engine: Engine, part: Pixels) -> Pixels:
    """uint8 (h, w, 1 or 3) through an engine, to the same number of channels."""
    prediction = engine(np.broadcast_to(part, (*part.shape[:2], 3))[None])[0]
    return prediction if part.shape[2] == 3 else np.rint(prediction @ LUMA[:, None]).astype(np.uint8)


def _with_nearest_hidden(
    parts: SplitImage, hidden_colour: Pixels, size: tuple[int, int], blocks: Iterator[tuple[Pixels, Pixels]]
) -> Iterator[Pixels]:
    start = 0
    for colour, alpha in blocks:
        yield parts.merge(colour, alpha, nearest_rows(hidden_colour, size, start, start + len(colour)))
        start += len(colour)
