"""ncnn on CPUs: computes in fp32, weights stored in fp32 or fp16; also for realesrgan-ncnn-vulkan and Upscayl.

Those programs feed an input named `data` with RGB in [0, 1] and read `output`; they take the scale from the file's name
(`file_stem`). Converted by pnnx (https://github.com/Tencent/ncnn/tree/master/tools/pnnx). Besides `.param` and `.bin` a
file `.param.json` holds srkd's facts and the digests of both.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import subprocess
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from srkd.errors import SrkdError
from srkd.inference.backends.engine import Bytes, CannotRunError, Engine, as_bytes, as_floats, reason, require
from srkd.inference.graph import example
from srkd.integrations.ncnn import Layer, NcnnNetwork, read_layers, write_layers
from srkd.networks.sides import padded_side
from srkd.networks.tail import Layer as TensorFunction
from srkd.networks.tail import SubpixelOutput, Tail, same

PRECISIONS = ("fp32", "fp16")
INPUT, OUTPUT = "data", "output"
_FACTOR, _MODE, _REPEATS = 0, 1, -23302  # numbers of layers' parameters
_CELLS_FIRST = "1"  # PixelShuffle's mode for channels ordered (i, j, c)


@dataclass(frozen=True)
class NcnnFiles:
    """The contents of a `.param` and a `.bin`, and srkd's facts about the network."""

    param: str
    weights: bytes
    facts: dict[str, Any]


def file_stem(name: str, scale: int) -> str:
    """A model's name in which Upscayl and people find its scale.

    Upscayl (`common/check-model-scale.ts`) looks for x2 or 2x, then for x3 or 3x, and takes everything else for x4.
    """

    def read(stem: str) -> int:
        return next((factor for factor in (2, 3) if re.search(f"x{factor}|{factor}x", stem.lower())), 4)

    if read(name) == scale and re.search(f"(?i)x{scale}|{scale}x", name):
        return name
    stem = f"{name}-x{scale}"
    return stem if read(stem) == scale else f"{re.sub('(?i)(?<=[23])x|x(?=[23])', '-', name)}-x{scale}"


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


def _without_tails(network: nn.Module) -> nn.Module:
    for name, child in network.named_children():
        setattr(network, name, _TwoConvolutions(child) if isinstance(child, Tail) else _without_tails(child))
    return network


def convert(graph: nn.Module, facts: Mapping[str, Any]) -> NcnnFiles:
    """Convert a graph (`srkd.inference.graph`) to ncnn, always with float RGB in [0, 1] as input and output.

    `facts["precision"]` is that of the stored weights.

    Raises:
        SrkdError: pnnx or ncnn is not installed, or ncnn lacks a layer of this network, which is named.
    """
    pnnx, ncnn = require("pnnx"), require("ncnn")
    network = _without_tails(copy.deepcopy(graph).network)  # type: ignore[arg-type]
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


class NcnnEngine(Engine):
    """An ncnn network on the CPU, image by image."""

    runtime = "ncnn"

    def __init__(self, native: NcnnFiles, precision: str, scale: int) -> None:
        super().__init__(precision, scale)
        with tempfile.TemporaryDirectory() as name:
            param, weights = Path(name) / "net.param", Path(name) / "net.bin"
            param.write_text(native.param, encoding="utf-8")
            weights.write_bytes(native.weights)
            self._network = NcnnNetwork(param, weights, torch.get_num_threads())

    def _run(self, pixels: Bytes) -> Bytes:
        return as_bytes(np.stack([self._network(image) for image in as_floats(pixels)]))


def described(path: Path) -> Path:
    """The file beside a `.param` that holds srkd's facts."""
    return path.with_name(f"{path.name}.json")


def is_export(path: Path) -> bool:
    """Whether srkd's facts are beside a `.param` file."""
    return described(path).is_file()


def describe(native: NcnnFiles, facts: Mapping[str, Any]) -> NcnnFiles:
    """The network with these facts."""
    return replace(native, facts=dict(facts))


def facts_of(native: NcnnFiles) -> dict[str, Any]:
    """The facts of a network."""
    return native.facts


def _digests(param: bytes, weights: bytes) -> dict[str, str]:
    return {"param": hashlib.sha256(param).hexdigest(), "bin": hashlib.sha256(weights).hexdigest()}


def save(native: NcnnFiles, path: Path) -> None:
    """Write `path` (.param), its .bin and its .param.json."""
    param = native.param.encode()
    path.write_bytes(param)
    path.with_suffix(".bin").write_bytes(native.weights)
    content = {"facts": native.facts, "sha256": _digests(param, native.weights)}
    described(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> tuple[NcnnFiles, dict[str, Any]]:
    """An ncnn network that srkd wrote, and its facts.

    Raises:
        SrkdError: any other file; a `.param` or `.bin` that was changed or is incomplete.
    """
    require("ncnn")
    for beside in (described(path), path.with_suffix(".bin")):
        if not beside.is_file():
            raise SrkdError(f"{beside}: not found; srkd opens {path.name} only with it")
    try:
        content = json.loads(described(path).read_bytes())
        facts, expected = dict(content["facts"]), content["sha256"]
        param, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
        int(facts["scale"]), str(facts["precision"])
    except Exception as error:
        raise SrkdError(f"{described(path)}: not written by srkd export, or incomplete") from error
    found = _digests(param, weights)
    for part, file in (("param", path), ("bin", path.with_suffix(".bin"))):
        if found[part] != expected.get(part):
            raise SrkdError(f"{file}: changed or incomplete: its digest is not that in {described(path).name}")
    return NcnnFiles(param.decode(), weights, facts), facts
