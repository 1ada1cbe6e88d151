"""LiteRT (TensorFlow Lite) on CPUs: fp32, any input size; the files run on Android.

A `.tflite` takes float32 (N, H, W, 3) RGB in [0, 1] and returns (N, scale H, scale W, 3). It is written for N, H, W =
1, 64, 64; programs resize the input (`Interpreter.resizeInput`) before they allocate tensors. The facts are the
metadata `srkd`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srkd.inference.backends.engine import Bytes, Engine, as_bytes, as_floats, not_exported, require
from srkd.machine import threads

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32",)
_KEY, _IDENTIFIER = "srkd", b"TFL3"
# What `litert_conversion` writes: none has a size of its own, so that a small file cannot request terabytes.
_OPERATORS = (
    *("CONV_2D", "PRELU", "RELU", "LOGISTIC", "ADD", "SUB", "MUL"),
    *("CONCATENATION", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"),
)


@dataclass(frozen=True)
class LiteRtFile:
    """The content of a `.tflite`, and srkd's facts about the network."""

    content: bytes
    facts: dict[str, Any]


def convert(graph: nn.Module, facts: Mapping[str, Any]) -> LiteRtFile:
    """As `srkd.inference.backends.litert_conversion.convert`."""
    from srkd.inference.backends import litert_conversion

    return LiteRtFile(packed(litert_conversion.convert(graph, facts)), dict(facts))


def describe(native: LiteRtFile, facts: Mapping[str, Any]) -> LiteRtFile:
    """The network with these facts."""
    return replace(native, facts=dict(facts))


def facts_of(native: LiteRtFile) -> dict[str, Any]:
    """The facts of a network."""
    return native.facts


def schema() -> Any:
    """The module of the format's flatbuffer classes."""
    return require("ai_edge_litert.schema_py_generated")


def packed(model: Any) -> bytes:
    """The content of a file with this `ModelT`."""
    builder = require("flatbuffers").Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


class LiteRtEngine(Engine):
    """A LiteRT model on the CPU (XNNPACK)."""

    runtime = "litert"

    def __init__(self, native: LiteRtFile, precision: str, scale: int) -> None:
        super().__init__(precision, scale)
        interpreter = require("ai_edge_litert.interpreter").Interpreter
        self._interpreter = interpreter(model_content=native.content, num_threads=threads())
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._shape: tuple[int, ...] = ()

    def _run(self, pixels: Bytes) -> Bytes:
        return as_bytes(self._run_floats(as_floats(pixels)))

    def _run_floats(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        image = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        if image.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input, image.shape)
            self._interpreter.allocate_tensors()
            self._shape = image.shape
        self._interpreter.set_tensor(self._input, image)
        self._interpreter.invoke()
        output: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return np.ascontiguousarray(output.transpose(0, 3, 1, 2))


def save(native: LiteRtFile, path: Path) -> None:
    """Write `path` (.tflite)."""
    classes = schema()
    model = classes.ModelT.InitFromPackedBuf(native.content, 0)
    if not model.metadata:
        entry = classes.MetadataT()
        entry.name, entry.buffer = _KEY, len(model.buffers)
        model.buffers.append(classes.BufferT())
        model.metadata = [entry]
    model.buffers[model.metadata[0].buffer].data = np.frombuffer(json.dumps(native.facts).encode(), np.uint8)
    path.write_bytes(packed(model))


def load(path: Path) -> tuple[LiteRtFile, dict[str, Any]]:
    """A LiteRT model that srkd wrote, and its facts. Raises SrkdError for any other file."""
    classes, writer = schema(), ""
    try:
        content = path.read_bytes()
        model = classes.Model.GetRootAs(content)
        known = {getattr(classes.BuiltinOperator, name) for name in _OPERATORS}
        codes = {model.OperatorCodes(number).BuiltinCode() for number in range(model.OperatorCodesLength())}
        entries = [model.Metadata(number) for number in range(model.MetadataLength())]
        if content[4:8] == _IDENTIFIER and _KEY.encode() not in [entry.Name() for entry in entries]:
            writer = f"another converter ({(model.Description() or b'not named').decode()})"
        if content[4:8] != _IDENTIFIER or not codes <= known or model.SubgraphsLength() != 1:
            raise ValueError("operators that srkd does not write")
        (number,) = [entry.Buffer() for entry in entries if entry.Name() == _KEY.encode()]
        facts = dict(json.loads(model.Buffers(number).DataAsNumpy().tobytes()))
        return LiteRtFile(content, facts), facts
    except Exception as error:
        raise not_exported(path, "a LiteRT model", writer) from error
