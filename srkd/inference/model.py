"""A trained network that upscales images: `srkd.load(name).upscale(image)`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
from numpy.typing import NDArray

from srkd.arguments import BOOLEAN, INTEGER, NUMBER, PATH, check, printable_value
from srkd.errors import SrkdError
from srkd.images.levels import from_levels, to_levels
from srkd.images.resize import RowResizer
from srkd.inference import inputs
from srkd.inference.alpha import LUMA, SplitImage, nearest_rows, split_alpha
from srkd.inference.no_network import NoNetwork
from srkd.inference.tiling import MEMORY, Floats, ReceptiveField, tile_side, upscale_rows
from srkd.inference.views import eight_views
from srkd.networks.sides import Sides
from srkd.trust import trusting

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from typing_extensions import Self

    from srkd.inference.backends.engine import Engine

Pixels = NDArray[Any]
NOT_FINITE = (
    "the network's output contains NaN or infinity: its weights overflow on this image (or the image itself is not "
    "finite); use another checkpoint"
)
_EXPORTED = ("licence", "lineage", "network", "teacher")  # of the checkpoint's metadata, in exported files


@dataclass(repr=False)
class Model:
    """A trained network that upscales RGB images by `scale`; evaluation, upscaling and benchmarks all run it.

    `network` is in eval mode, (N, 3, H, W) RGB in [0, 1] to `scale` times the size, not clamped, for input sides as
    `sides` requires; other sizes are padded. `engine`, if set, runs 8-bit images instead of the network; 16-bit and
    float images, and self-ensembles, use the network. An exported file has none: its engine runs them too, if it takes
    floats. `meta` is the checkpoint's description, or what was inferred from its weights.

    torch is imported only to run a network, so that exported files need no torch.
    """

    network: nn.Module
    scale: int
    name: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    engine: Engine | None = None
    sides: Sides = field(default_factory=Sides)

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
            SrkdError: as `srkd.inference.loading.load_model`.
        """
        from srkd.inference.loading import load_model

        check(BOOLEAN, trust_code=trust_code)
        check(PATH, name=name)
        check(INTEGER, optional=True, scale=scale)
        with trusting(trust_code):
            loaded = load_model(name, scale)
        if loaded.has_network:
            import torch

            loaded.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            loaded.network.to(device)
        return loaded

    @classmethod
    def of_engine(cls, engine: Engine, facts: Mapping[str, Any]) -> Self:
        """A model that is only an engine, such as an exported file; `facts` as `Model.facts` returns them."""
        name, sides = str(facts.get("name", "")), {key: facts[key] for key in vars(Sides()) if key in facts}
        meta = {key: value for key, value in facts.items() if key not in ("name", "scale", *sides)}
        network = cast("nn.Module", NoNetwork(name))
        return cls(network, int(facts["scale"]), name, meta, engine, Sides(**sides))

    @property
    def has_network(self) -> bool:
        """Whether the model is more than an engine: an exported file is only that."""
        return not isinstance(self.network, NoNetwork)

    def facts(self, tiling: bool = False) -> dict[str, Any]:
        """The metadata of an exported file, as plain data.

        Args:
            tiling: include what tiles depend on, which is measured: `halo` (None if unbounded or, without `tiling`, not
                known), `align` and `bytes_per_pixel`.
        """
        kept = {key: self.meta[key] for key in _EXPORTED if self.meta.get(key) is not None}
        sides = {"multiple": self.sides.multiple, "minimum": self.sides.minimum}
        sides |= {"square": True} if self.sides.square else {}
        counted: dict[str, Any] = {"colour": "RGB", "halo": None, "parameters": self.parameters}
        if tiling:
            field = self.receptive_field
            counted |= {"halo": field.halo, "align": field.align, "bytes_per_pixel": round(self.bytes_per_pixel)}
        return {"name": self.name, "scale": self.scale, **sides, **counted, **kept}

    def __repr__(self) -> str:
        kind = self.meta.get("network", {}).get("type") or self.meta.get("architecture") or type(self.network).__name__
        size = f"{self.parameters:,} parameters" if self.parameters else "parameters unknown"
        return f"<Model {self.name or 'without a name'}: {kind}, x{self.scale}, {self.colour}, {size}, {self._runs_on}>"

    @property
    def _runs_on(self) -> str:
        place = "" if not self.has_network or self.device.type == "cpu" else f" on {self.device}"
        return " ".join(self.backend) + place

    @property
    def backend(self) -> tuple[str, str]:
        """The runtime and precision that 8-bit images are upscaled with."""
        return ("torch", "fp32") if self.engine is None else (self.engine.runtime, self.engine.precision)

    def backend_of(self, pixels: Pixels, self_ensemble: bool = False) -> tuple[str, str]:
        """The runtime and precision that an image is upscaled with."""
        uses_engine = self._uses_engine(pixels, self_ensemble) or not self.has_network
        return self.backend if uses_engine else ("torch", "fp32")

    @property
    def colour(self) -> str:
        """What the network upscales: `RGB`, or `luma` with chroma resized by bicubic interpolation."""
        if not self.has_network:
            return str(self.meta.get("colour", "RGB"))
        from srkd.networks.luma import Luma

        return "luma" if isinstance(self.network, Luma) else "RGB"

    @property
    def parameters(self) -> int:
        """Number of parameters; 0 if an exported file does not state it."""
        own = sum(p.numel() for p in self.network.parameters())
        return own or int(self.meta.get("parameters") or 0)

    @cached_property
    def receptive_field(self) -> ReceptiveField:
        """The network's receptive field, measured when first needed, or from the metadata of an exported file: only
        tiling uses it.

        Raises:
            SrkdError: the metadata of an exported file do not state it.
        """
        if not self.has_network:
            return ReceptiveField(self._stated("halo"), self._stated("align"), self.sides.minimum)
        from srkd.inference.receptive_field import measure

        field = measure(self.run, self.scale, self.device, self.sides.multiple)
        return replace(field, minimum=self.sides.minimum)

    @cached_property
    def bytes_per_pixel(self) -> float:
        """Approximate memory in bytes that the network needs per input pixel, from where `receptive_field` is."""
        if not self.has_network:
            return float(self._stated("bytes_per_pixel"))
        from srkd.inference.receptive_field import bytes_per_pixel

        return bytes_per_pixel(self.run, self.device)

    def _stated(self, fact: str) -> Any:
        """What an exported file states about its tiles. Raises SrkdError if it states nothing."""
        if not self.tiles:
            raise SrkdError(f"{self.name} is an exported file that does not state how to tile it: export it again")
        return self.meta[fact]

    @property
    def tiles(self) -> bool:
        """Whether images can be divided into tiles: not if an exported file does not state how."""
        return self.has_network or "align" in self.meta

    @property
    def device(self) -> torch.device:
        from srkd.networks.device import device_of

        return device_of(self.network)

    def run(self, x: Tensor, self_ensemble: bool = False) -> Tensor:
        """The network on float32 RGB in [0, 1] (N, 3, H, W) of any size, to (N, 3, scale H, scale W), not clamped.

        Args:
            self_ensemble: average over the 8 flips and rotations (EDSR's "+", CVPRW 2017).

        Raises:
            SrkdError: the network returns anything else.
        """
        from srkd.inference import forward

        return forward.run(self, x, self_ensemble)

    def __call__(self, pixels: Pixels, self_ensemble: bool = False) -> Pixels:
        """Upscale whole images without tiles: (N, H, W, 3 or 1), RGB or grey, of uint8, uint16 or float32 in [0, 1], to
        the same dtype and channels.

        Raises:
            SrkdError: another shape or dtype; as `run`; non-finite output; an engine that cannot run at this size;
                an image that needs the network (see `Model`) of a model that has none.
        """
        pixels = inputs.native_pixels(pixels)
        if pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            raise SrkdError(f"expected images (N, H, W, 3 or 1), got shape {pixels.shape}; `upscale` takes one image")
        if self._uses_engine(pixels, self_ensemble):
            return self._through_engine(pixels)
        return to_levels(self._through_network(pixels, self_ensemble), pixels.dtype)

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
                far outside [0, 1], a file that cannot be read, an option of another type or range; non-finite output.
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
            upscaled: Pixels = self.upscale(image, *options)
            return upscaled
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
        pixels = inputs.native_pixels(pixels)
        check(BOOLEAN, self_ensemble=self_ensemble)
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
            SrkdError: as `check_tile`.
        """
        check_tile(tile)
        whole = max(height, width)
        if tile is not None:
            return tile or whole
        if not self.tiles:
            return whole
        fits = height * width * self.bytes_per_pixel <= MEMORY
        return whole if fits else min(whole, tile_side(self.receptive_field, self.bytes_per_pixel))

    def _plane(self, plane: Pixels, side: int, self_ensemble: bool, size: tuple[int, int]) -> Iterator[Pixels]:
        """Upscaled rows of one plane (H, W, 1 or 3) in its dtype, resized to `size` if that differs from the output."""
        height, width, _ = plane.shape
        natural = (height * self.scale, width * self.scale)
        whole = side >= max(height, width)
        field = ReceptiveField(None) if whole else self.receptive_field
        if size == natural and (whole or field.exact):  # no further computation on the result
            return upscale_rows(plane, lambda part: self(part[None], self_ensemble)[0], self.scale, field, side)
        rows = upscale_rows(plane, lambda part: self._floats(part[None], self_ensemble)[0], self.scale, field, side)
        if size != natural:
            resizer = RowResizer(natural, size)
            rows = (resizer.push(block) for block in rows)
        return (to_levels(block, plane.dtype) for block in rows)

    def _uses_engine(self, pixels: Pixels, self_ensemble: bool) -> bool:
        return self.engine is not None and pixels.dtype == np.uint8 and not self_ensemble

    def _floats(self, pixels: Pixels, self_ensemble: bool) -> Floats:
        """As `__call__`, to float32 in [0, 1]."""
        if self._uses_engine(pixels, self_ensemble):
            return from_levels(self._through_engine(pixels))
        return self._through_network(pixels, self_ensemble)

    def _through_engine(self, pixels: Pixels) -> Pixels:
        assert self.engine is not None
        count, height, width, channels = pixels.shape
        rgb = self.sides.pad_pixels(np.broadcast_to(pixels, (count, height, width, 3)))
        output = self.engine(np.require(rgb, requirements=["C", "W"]))[:, : height * self.scale, : width * self.scale]
        return output if channels == 3 else np.rint(output @ LUMA[:, None]).astype(np.uint8)

    def _through_network(self, pixels: Pixels, self_ensemble: bool) -> Floats:
        if not self.has_network:
            return self._through_float_engine(pixels, self_ensemble)
        from srkd.inference import forward

        return forward.floats(self, pixels, self_ensemble)

    def _through_float_engine(self, pixels: Pixels, self_ensemble: bool) -> Floats:
        """As `forward.floats`, by the engine of an exported file."""
        count, height, width, channels = pixels.shape
        rgb = np.broadcast_to(from_levels(pixels), (count, height, width, 3)).transpose(0, 3, 1, 2)
        views = eight_views(rgb) if self_ensemble else [(rgb, lambda y: y)]
        outputs = [undo(self._floats_of_engine(view)) for view, undo in views]
        output = np.mean(outputs, 0) if self_ensemble else outputs[0]
        if not np.isfinite(output.sum()):
            raise SrkdError(NOT_FINITE)
        output = np.clip(output, 0, 1).transpose(0, 2, 3, 1)
        return output if channels == 3 else output @ LUMA[:, None]

    def _floats_of_engine(self, x: Floats) -> Floats:
        assert self.engine is not None
        height, width = (side * self.scale for side in x.shape[-2:])
        return self.engine.floats(np.ascontiguousarray(self.sides.pad(x)))[..., :height, :width]


def check_tile(tile: int | None) -> None:
    """Raise SrkdError for a tile side that is negative or no integer."""
    if tile is not None and not (INTEGER.fits(tile) and tile >= 0):
        raise SrkdError(f"tile must be 0 (none) or an integer number of pixels, got {printable_value(tile)}")


def output_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """Sides times `factor`, rounded, at least 1.

    Raises:
        SrkdError: a factor that is not a positive number.
    """
    if not (NUMBER.fits(factor) and 0 < factor < math.inf):
        raise SrkdError(f"the scale must be a positive number, got {printable_value(factor)}")
    return max(1, round(height * factor)), max(1, round(width * factor))


def _with_nearest_hidden(
    parts: SplitImage, hidden_colour: Pixels, size: tuple[int, int], blocks: Iterator[tuple[Pixels, Pixels]]
) -> Iterator[Pixels]:
    start = 0
    for colour, alpha in blocks:
        yield parts.merge(colour, alpha, nearest_rows(hidden_colour, size, start, start + len(colour)))
        start += len(colour)
