"""Conversion to LiteRT, from the layers that pnnx finds (`srkd.inference.backends.ncnn_conversion`).

Every operator is one that works at any input size and on the GPU delegate. litert-torch, the usual converter, can fix
the size only (pixel shuffles become reshapes of constant shape), so that small images would have other borders.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from srkd.inference.backends import litert, ncnn_conversion
from srkd.inference.backends.engine import CannotRunError
from srkd.integrations.ncnn import Layer, read_layers

Floats = NDArray[np.float32]
_SIDE = 64  # of the input that the file is written for; a multiple of common factors
_ARITHMETIC = {0: "ADD", 1: "SUB", 2: "MUL"}  # by ncnn's number of the operation
_ACTIVATIONS = {0: "NONE", 1: "RELU"}  # fused into a convolution, likewise


def convert(graph: nn.Module, facts: Mapping[str, Any]) -> Any:
    """A graph (`srkd.inference.graph`) as a LiteRT `ModelT` with float RGB in [0, 1] as input and output, NHWC.

    Raises:
        SrkdError: a package is not installed, or a layer of this network has no counterpart here, which is named.
    """
    native = ncnn_conversion.convert(graph, facts)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "net.param"
        path.write_text(native.param, encoding="utf-8")
        layers = read_layers(path)
    writer = _Writer(native.weights)
    for layer in layers:
        add = getattr(writer, f"add_{layer.kind.lower()}", None)
        if add is None:
            raise _lacking(layer, "")
        add(layer)
    return writer.model(layers[0].outputs[0], layers[-1].outputs[0])


def _lacking(layer: Layer, detail: str) -> CannotRunError:
    named = f"{layer.kind} {detail}".strip()
    return CannotRunError(f"LiteRT cannot represent this network: srkd does not convert {named}; use another runtime")


class _Writer:
    """Collects tensors and operators of a model, a layer of ncnn at a time; `weights` is the content of its .bin."""

    def __init__(self, weights: bytes) -> None:
        self._classes = litert.schema()
        self._weights, self._at = weights, 0
        self._buffers, self._tensors, self._operators = [self._classes.BufferT()], list[Any](), list[Any]()
        self._codes: dict[str, int] = {}
        self._blobs: dict[str, tuple[int, int, int]] = {}  # tensor, channels and side

    def model(self, entrance: str, end: str) -> Any:
        """The complete `ModelT`."""
        classes = self._classes
        subgraph, model = classes.SubGraphT(), classes.ModelT()
        subgraph.tensors, subgraph.operators = self._tensors, self._operators
        subgraph.inputs, subgraph.outputs = [self._blobs[entrance][0]], [self._blobs[end][0]]
        model.version, model.description, model.subgraphs, model.buffers = 3, "srkd", [subgraph], self._buffers
        model.operatorCodes = [self._operator_code(name) for name in self._codes]
        return model

    def _operator_code(self, name: str) -> Any:
        code = self._classes.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(self._classes.BuiltinOperator, name)
        code.version = 1
        return code

    def _tensor(self, name: str, shape: Sequence[int], buffer: int = 0) -> int:
        tensor = self._classes.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = self._classes.TensorType.FLOAT32
        if not buffer:
            tensor.shapeSignature = [-1, -1, -1, shape[3]]
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _constant(self, name: str, values: Floats) -> int:
        buffer = self._classes.BufferT()
        buffer.data = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8)
        self._buffers.append(buffer)
        return self._tensor(name, values.shape, len(self._buffers) - 1)

    def _blob(self, name: str, channels: int, side: int) -> int:
        tensor = self._tensor(name, (1, side, side, channels))
        self._blobs[name] = (tensor, channels, side)
        return tensor

    def _operator(self, kind: str, inputs: Sequence[int], output: int, options: str = "", **values: Any) -> None:
        operator = self._classes.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(kind, len(self._codes))
        operator.inputs, operator.outputs = list(inputs), [output]
        if options:
            operator.builtinOptionsType = getattr(self._classes.BuiltinOptions, options)
            operator.builtinOptions = getattr(self._classes, f"{options}T")()
            for key, value in values.items():
                setattr(operator.builtinOptions, key, value)
        self._operators.append(operator)

    def _take(self, count: int) -> Floats:
        values = np.frombuffer(self._weights, "<f4", count, self._at)
        self._at += 4 * count
        return values

    def add_input(self, layer: Layer) -> None:
        self._blob(layer.outputs[0], 3, _SIDE)

    def add_memorydata(self, layer: Layer) -> None:
        channels = layer.integer(2)
        if layer.integer(0) != 1 or layer.integer(1) != 1 or not channels:
            raise _lacking(layer, "of more than one value a channel")
        values = self._take(channels).reshape(1, 1, 1, channels)
        self._blobs[layer.outputs[0]] = (self._constant(layer.name, values), channels, 1)

    def add_split(self, layer: Layer) -> None:
        for name in layer.outputs:
            self._blobs[name] = self._blobs[layer.inputs[0]]

    def add_convolution(self, layer: Layer) -> None:
        outputs, kernel, size = layer.integer(0), layer.integer(1), layer.integer(6)
        plain = layer.integer(2, 1) == layer.integer(3, 1) == 1 and layer.integer(4) == kernel // 2 and kernel % 2
        if not plain or layer.integer(11, kernel) != kernel or layer.integer(9) not in _ACTIVATIONS:
            raise _lacking(layer, "with strides, dilation, other padding or this activation")
        self._take(1)  # the tag of fp32
        weights = self._take(size).reshape(outputs, -1, kernel, kernel)
        bias = self._take(outputs) if layer.integer(5) else np.zeros(outputs, np.float32)
        self._convolve(layer.name, layer.inputs[0], layer.outputs[0], weights, bias, _ACTIVATIONS[layer.integer(9)])

    def _convolve(
        self, name: str, source: str, target: str, weights: Floats, bias: Floats, activation: str = "NONE"
    ) -> None:
        tensor, _, side = self._blobs[source]
        constants = [
            self._constant(f"{name}.weight", weights.transpose(0, 2, 3, 1)),
            self._constant(f"{name}.bias", bias),
        ]
        fused = getattr(self._classes.ActivationFunctionType, activation)
        options = {"strideW": 1, "strideH": 1, "padding": self._classes.Padding.SAME, "fusedActivationFunction": fused}
        output = self._blob(target, len(weights), side)
        self._operator("CONV_2D", [tensor, *constants], output, "Conv2DOptions", **options)

    def _permuted(self, name: str, source: str, target: str, places: NDArray[np.int64]) -> None:
        """Channels in another order, by a 1x1 convolution with ones and zeros, which is exact."""
        weights = np.eye(len(places), dtype=np.float32)[places][:, :, None, None]
        self._convolve(name, source, target, weights, np.zeros(len(places), np.float32))

    def add_relu(self, layer: Layer) -> None:
        if float(layer.values.get(0, 0)):
            raise _lacking(layer, "with a slope")
        self._unary("RELU", layer)

    def add_sigmoid(self, layer: Layer) -> None:
        self._unary("LOGISTIC", layer)

    def add_swish(self, layer: Layer) -> None:
        tensor, channels, side = self._blobs[layer.inputs[0]]
        gate = self._blob(f"{layer.outputs[0]}.gate", channels, side)
        self._operator("LOGISTIC", [tensor], gate)
        self._operator("MUL", [tensor, gate], self._blob(layer.outputs[0], channels, side), "MulOptions")

    def add_prelu(self, layer: Layer) -> None:
        slopes = self._take(layer.integer(0))
        channels = self._blobs[layer.inputs[0]][1]
        alpha = np.broadcast_to(slopes, channels).reshape(1, 1, channels)
        self._unary("PRELU", layer, self._constant(f"{layer.name}.weight", alpha))

    def _unary(self, kind: str, layer: Layer, *constants: int) -> None:
        tensor, channels, side = self._blobs[layer.inputs[0]]
        self._operator(kind, [tensor, *constants], self._blob(layer.outputs[0], channels, side))

    def add_binaryop(self, layer: Layer) -> None:
        kind = _ARITHMETIC.get(layer.integer(0))
        if kind is None:
            raise _lacking(layer, f"of type {layer.integer(0)}")
        tensors = [self._blobs[name] for name in layer.inputs]
        inputs = [tensor for tensor, _, _ in tensors]
        if layer.integer(1):
            inputs.append(self._constant(layer.name, np.full(1, float(layer.values.get(2, 0)), np.float32)))
        channels, side = (max(blob[number] for blob in tensors) for number in (1, 2))
        output = self._blob(layer.outputs[0], channels, side)
        self._operator(kind, inputs, output, f"{kind.title()}Options")

    def add_concat(self, layer: Layer) -> None:
        if layer.integer(0):
            raise _lacking(layer, "along rows or columns")
        blobs = [self._blobs[name] for name in layer.inputs]
        output = self._blob(layer.outputs[0], sum(channels for _, channels, _ in blobs), blobs[0][2])
        self._operator("CONCATENATION", [tensor for tensor, _, _ in blobs], output, "ConcatenationOptions", axis=3)

    def add_pixelshuffle(self, layer: Layer) -> None:
        factor, source = layer.integer(0), layer.inputs[0]
        channels = self._blobs[source][1]
        if not layer.integer(1):  # channels ordered (c, i, j); LiteRT's are (i, j, c)
            places = np.arange(channels).reshape(-1, factor**2).T.reshape(-1)
            self._permuted(f"{layer.name}.order", source, source := f"{source}.ordered", places)
        tensor, _, side = self._blobs[source]
        output = self._blob(layer.outputs[0], channels // factor**2, side * factor)
        self._operator("DEPTH_TO_SPACE", [tensor], output, "DepthToSpaceOptions", blockSize=factor)

    def add_reorg(self, layer: Layer) -> None:
        factor, target = layer.integer(0), layer.outputs[0]
        tensor, channels, side = self._blobs[layer.inputs[0]]
        cells = self._blob(f"{target}.cells", channels * factor**2, side // factor)
        self._operator("SPACE_TO_DEPTH", [tensor], cells, "SpaceToDepthOptions", blockSize=factor)
        places = np.arange(channels * factor**2).reshape(factor**2, channels).T.reshape(-1)
        self._permuted(f"{layer.name}.order", f"{target}.cells", target, places)
