"""Conversion of a network to ncnn by pnnx (https://github.com/Tencent/ncnn/tree/master/tools/pnnx)."""

from __future__ import annotations

import copy
import re
import subprocess
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from srkd.inference.backends.engine import CannotRunError, reason, require
from srkd.inference.backends.ncnn import INPUT, OUTPUT, NcnnFiles
from srkd.inference.graph import example
from srkd.integrations.ncnn import Layer, read_layers, write_layers
from srkd.networks.sides import padded_side
from srkd.networks.tail import ChosenChannels, SubpixelOutput, Tail, same
from srkd.networks.tail import Layer as TensorFunction

_FACTOR, _MODE, _REPEATS = 0, 1, -23302  # numbers of layers' parameters
_CELLS_FIRST = "1"  # PixelShuffle's mode for channels ordered (i, j, c)


class _ShuffledLast(nn.Module):
    """A `SubpixelOutput` whose pixel shuffle is one operator; `_layers` sets its order of channels."""

    def __init__(self, network: SubpixelOutput) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.network.subpixels(image), self.network.factor)


class _TwoConvolutions(nn.Module):
    """A `Tail` without its merged convolution, whose border needs slices that ncnn does not have."""

    def __init__(self, tail: Tail) -> None:
        super().__init__()
        self.edge = tail.edge

    def forward(self, x: Tensor, finish: TensorFunction = same) -> Tensor:
        return finish(self.edge(x))


def _representable(module: nn.Module) -> nn.Module:
    """A network, changed in place, without modules that need slices or indexing."""
    if isinstance(module, Tail):
        return _TwoConvolutions(module)
    if isinstance(module, ChosenChannels):
        return module.as_convolution()
    for name, child in module.named_children():
        setattr(module, name, _representable(child))
    return module


def convert(graph: nn.Module, facts: Mapping[str, Any]) -> NcnnFiles:
    """Convert a graph (`srkd.inference.graph`) to ncnn, always with float RGB in [0, 1] as input and output.

    `facts["precision"]` is that of the stored weights.

    Raises:
        SrkdError: pnnx or ncnn is not installed, or ncnn lacks a layer of this network, which is named.
    """
    pnnx, ncnn = require("pnnx"), require("ncnn")
    network = _representable(copy.deepcopy(graph).network)  # type: ignore[arg-type]
    subpixels = isinstance(network, SubpixelOutput)
    network = _ShuffledLast(network) if isinstance(network, SubpixelOutput) else network
    image = example(False, facts.get("multiple", 1), facts.get("minimum", 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run_pnnx(pnnx, network, image, folder, facts)
        layers = read_layers(folder / "net.ncnn.param")
        weights = (folder / "net.ncnn.bin").read_bytes()
    unknown = sorted({layer.kind for layer in layers if ncnn.layer_to_index(layer.kind) < 0})
    if unknown:
        raise CannotRunError(f"ncnn cannot represent this network: it lacks {', '.join(unknown)}; use another runtime")
    return NcnnFiles(write_layers(_adapted(layers, subpixels)), weights, dict(facts))


def _run_pnnx(pnnx: Any, network: nn.Module, image: Tensor, folder: Path, facts: Mapping[str, Any]) -> None:
    multiple = facts.get("multiple", 1)
    # Sizes that differ between the two shapes become variable.
    larger = [1, 3, *(padded_side(side + 16, multiple) for side in image.shape[2:])]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # sizes as constants: see `check_sizes`
            torch.jit.save(torch.jit.trace(network, image, check_trace=False), str(folder / "net.pt"))
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        raise CannotRunError(f"ncnn cannot represent this network: {reason(error)}; use another runtime") from error
    shapes = [
        f"inputshape{key}={str(list(shape)).replace(' ', '')}" for key, shape in (("", image.shape), ("2", larger))
    ]
    command = [pnnx.EXEC_PATH, "net.pt", *shapes, f"fp16={int(facts.get('precision') == 'fp16')}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    written = all((folder / f"net.ncnn.{part}").is_file() for part in ("param", "bin"))
    if done.returncode or not written:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotRunError(f"ncnn cannot represent this network: pnnx failed ({last[:200]}); use another runtime")


def _adapted(layers: Sequence[Layer], subpixels: bool) -> list[Layer]:
    """pnnx's layers with the blobs' names that other programs expect, and only layers that ncnn had in 2022."""
    names = {layers[0].outputs[0]: INPUT, layers[-1].outputs[0]: OUTPUT}
    found = [_renamed(layer, names) for layer in layers]
    if subpixels:
        last = max(number for number, layer in enumerate(found) if layer.kind == "PixelShuffle")
        found[last] = replace(found[last], values={_FACTOR: found[last].values[_FACTOR], _MODE: _CELLS_FIRST})
    return [part for layer in found for part in _without_tile(layer)]


def _renamed(layer: Layer, names: Mapping[str, str]) -> Layer:
    inputs, outputs = (tuple(names.get(blob, blob) for blob in blobs) for blobs in (layer.inputs, layer.outputs))
    return replace(layer, inputs=inputs, outputs=outputs)


def _without_tile(layer: Layer) -> list[Layer]:
    """A repetition of channels as a concatenation: Tile's `repeats` is unknown to the ncnn of 2022, which those
    programs contain."""
    repeated = re.fullmatch(r"3,(\d+),1,1", layer.values.get(_REPEATS, ""))
    if layer.kind != "Tile" or repeated is None:
        return [layer]
    copies = tuple(f"{layer.name}_{number}" for number in range(int(repeated[1])))
    return [
        Layer("Split", f"{layer.name}_split", layer.inputs, copies, {}),
        Layer("Concat", layer.name, copies, layer.outputs, {0: "0"}),
    ]
