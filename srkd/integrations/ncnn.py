"""ncnn networks: `.param`, a text file that lists layers, and `.bin`, their weights in that order.

`state_dict` returns the weights of a Real-ESRGAN network under BasicSR's parameter names, so that they load as any
other checkpoint; `NcnnNetwork` runs any network by the `ncnn` package. The format is described in
ncnn's wiki ("param and model file structure") and was checked against the package itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srkd.errors import SrkdError

if TYPE_CHECKING:
    from torch import Tensor

_MAGIC = "7767517"
_FLOAT16, _FLOAT32 = 0x01306B47, 0
_WITHOUT_WEIGHTS = {"Input", "Split", "Concat", "Eltwise", "BinaryOp", "Interp", "PixelShuffle"}
_MAX_BYTES = 1 << 30
# Parameters of a layer, by their number in the file.
_OUTPUTS, _KERNEL, _DILATION, _STRIDE, _PADDING, _BIAS, _SIZE = range(7)


@dataclass(frozen=True)
class Layer:
    """One line of a `.param`: `values` are its parameters by number, as strings."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: dict[int, str]

    def integer(self, key: int, default: int = 0) -> int:
        """An integer parameter.

        Raises:
            SrkdError: it is not an integer.
        """
        try:
            return int(self.values.get(key, default))
        except ValueError:
            raise SrkdError(f"layer {self.name}: parameter {key} is {self.values[key]!r}, not an integer") from None


def read_layers(path: Path) -> list[Layer]:
    """The layers of a `.param` file.

    Raises:
        SrkdError: no such file, or not of this format; the line is named.
    """
    if not path.is_file():
        raise SrkdError(f"{path}: not found")
    lines = path.read_bytes()[:_MAX_BYTES].decode("utf-8", "replace").splitlines()
    if not lines or lines[0].strip() != _MAGIC:
        raise SrkdError(f"{path}: not an ncnn .param file (its first line is not {_MAGIC})")
    layers = [_layer(path, number, line) for number, line in enumerate(lines[2:], 3) if line.strip()]
    declared = lines[1].split()[0] if len(lines) > 1 and lines[1].split() else "0"
    if declared != str(len(layers)):
        raise SrkdError(f"{path}: {len(layers)} layers, but it declares {declared}; is it complete?")
    return layers


def _layer(path: Path, number: int, line: str) -> Layer:
    try:
        kind, name, inputs, outputs, *rest = line.split()
        count, end = int(inputs), int(inputs) + int(outputs)
        values = {int(key): value for key, value in (part.split("=", 1) for part in rest[end:])}
        return Layer(kind, name, tuple(rest[:count]), tuple(rest[count:end]), values)
    except ValueError:
        raise SrkdError(f"{path}, line {number}: not a layer: {line.strip()[:60]!r}") from None


def write_layers(layers: Sequence[Layer]) -> str:
    """The text of a `.param` file."""
    blobs = sum(len(layer.outputs) for layer in layers)
    return "\n".join([_MAGIC, f"{len(layers)} {blobs}", *map(_line, layers)]) + "\n"


def _line(layer: Layer) -> str:
    values = [f"{key}={value}" for key, value in layer.values.items()]
    sizes = [str(len(layer.inputs)), str(len(layer.outputs))]
    return " ".join([layer.kind, layer.name, *sizes, *layer.inputs, *layer.outputs, *values])


def state_dict(param: Path, weights: Path) -> dict[str, Tensor]:
    """The float32 weights of RRDBNet or SRVGGNetCompact, under BasicSR's names.

    Raises:
        SrkdError: a layer that these networks do not have (named), another network, int8 weights, or a `.bin` that does
            not match its `.param`.
    """
    layers = read_layers(param)
    for layer in layers:
        if layer.kind not in _WITHOUT_WEIGHTS | {"Convolution", "PReLU"}:
            raise SrkdError(
                f"{param}: layer {layer.name} is a {layer.kind}, which srkd cannot convert; it supports RRDBNet and "
                "SRVGGNetCompact"
            )
    names = _names(param, layers)
    if not weights.is_file():
        raise SrkdError(f"{weights}: not found")
    found = dict(zip(names, _tensors(weights, layers), strict=True))
    return {f"{name}.{part}": value for name, parts in found.items() for part, value in parts.items()}


def _names(param: Path, layers: Sequence[Layer]) -> list[str]:
    """BasicSR's name of each layer that has weights, in the file's order."""
    kinds = [layer.kind for layer in layers]
    convolutions, slopes = kinds.count("Convolution"), kinds.count("PReLU")
    if "Concat" in kinds and not slopes and convolutions % 15 == 6:
        blocks = [f"body.{i}.rdb{j}.conv{k}" for i in range(convolutions // 15) for j in (1, 2, 3) for k in range(1, 6)]
        return ["conv_first", *blocks, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
    if "PixelShuffle" in kinds and slopes and convolutions == slopes + 1:
        after = kinds[kinds.index("PixelShuffle") + 1 :]
        if after.count("Interp") != 1 or layers[-1].kind == "Interp":
            raise SrkdError(f"{param}: resizes its output after the last layer; use the x4 file, which does not")
        return [f"body.{i}" for i in range(convolutions + slopes)]
    raise SrkdError(f"{param}: neither RRDBNet nor SRVGGNetCompact ({convolutions} convolutions, {slopes} PReLU)")


def _tensors(path: Path, layers: Sequence[Layer]) -> Iterator[dict[str, Tensor]]:
    import torch

    data, at = path.read_bytes(), 0

    def take(count: int, dtype: str) -> np.ndarray:
        nonlocal at
        end = at + count * np.dtype(dtype).itemsize
        if count < 1 or end > len(data):
            raise SrkdError(f"{path}: ends within layer {layer.name}; it does not match its .param or is incomplete")
        values = np.frombuffer(data, dtype, count, at)
        at = end
        return values

    for layer in layers:
        if layer.kind == "PReLU":
            yield {"weight": torch.from_numpy(take(layer.integer(0), "<f4").copy())}
        if layer.kind != "Convolution":
            continue
        outputs, size = layer.integer(_OUTPUTS), layer.integer(_SIZE)
        shape = _shape(layer, outputs, size)
        tag = int(take(1, "<u4")[0])
        if tag not in (_FLOAT16, _FLOAT32):
            raise SrkdError(f"{path}: layer {layer.name} has weights of type {tag:#x}; srkd reads fp32 and fp16")
        kernel = take(size, "<f2" if tag == _FLOAT16 else "<f4").astype(np.float32)
        at += -at % 4
        found = {"weight": torch.from_numpy(kernel.reshape(shape))}
        if layer.integer(_BIAS):
            found["bias"] = torch.from_numpy(take(outputs, "<f4").copy())
        yield found
    if at != len(data):
        raise SrkdError(f"{path}: {len(data) - at} bytes too long for its .param")


def _shape(layer: Layer, outputs: int, size: int) -> tuple[int, int, int, int]:
    kernel = layer.integer(_KERNEL)
    plain = layer.integer(_DILATION, 1) == 1 and layer.integer(_STRIDE, 1) == 1 and kernel == 3
    if not plain or layer.integer(_PADDING) != 1 or outputs < 1 or size < 1 or size % (outputs * 9):
        raise SrkdError(f"layer {layer.name}: not a 3x3 convolution of stride 1 with padding")
    return outputs, size // (outputs * 9), 3, 3


class NcnnNetwork:
    """Any ncnn network, run by the `ncnn` package on the CPU: a teacher whose outputs can be distilled.

    Args:
        param, weights: the `.param` and `.bin` file.
        threads: number of CPU threads.

    Raises:
        SrkdError: the package is not installed, or it cannot load the files.
    """

    def __init__(self, param: Path, weights: Path, threads: int = 2) -> None:
        try:
            self._ncnn: Any = importlib.import_module("ncnn")
        except ImportError:
            raise SrkdError("running an ncnn network needs the package ncnn: pip install 'srkd[ncnn]'") from None
        layers = read_layers(param)
        self.input, self.output = layers[0].outputs[0], layers[-1].outputs[0]
        self.net = self._ncnn.Net()
        self.net.opt.num_threads = threads
        # By default the package stores weights as bf16 or fp16 where it can, which costs 10 dB.
        for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(self.net.opt, option, False)
        if self.net.load_param(str(param)) or self.net.load_model(str(weights)):
            raise SrkdError(f"{param}: ncnn cannot load it with {weights}")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The output for one image: float32 (3, H, W) in [0, 1] to float32 (3, s*H, s*W), not clamped.

        Raises:
            SrkdError: the network fails on this input.
        """
        extractor = self.net.create_extractor()
        array = np.ascontiguousarray(image, np.float32)
        # A Mat of an array does not own its memory: layers that work in place would change the array, and crash.
        extractor.input(self.input, self._ncnn.Mat(array).clone())
        failed, output = extractor.extract(self.output)
        if failed:
            raise SrkdError(f"ncnn cannot run the network on an input of {image.shape}")
        return np.array(output)
