"""ONNX export and ONNX Runtime: fp32 and int8 (QDQ) on CPUs."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.inference.backends.engine import (
    MOST_NUMBERS,
    Bytes,
    CannotRunError,
    Engine,
    as_bytes,
    as_floats,
    lacking,
    not_exported,
    reason,
    require,
)
from srkd.machine import threads
from srkd.training.precision import int8_saturates

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32", "int8")
_KEY = "srkd"


def convert(graph: nn.Module, facts: Mapping[str, Any]) -> Any:
    """Convert a graph (`srkd.inference.graph`) to an ONNX model of dynamic batch, height and width with its facts.

    Raises:
        SrkdError: onnx or onnxscript is not installed, or ONNX lacks an operator of this network, which is named.
    """
    import torch

    from srkd.inference.graph import Uint8Graph, example

    require("onnx"), require("onnxscript")
    uint8 = isinstance(graph, Uint8Graph)
    dynamic = torch.export.Dim.DYNAMIC
    axes = {0: dynamic, 1: dynamic, 2: dynamic} if uint8 else {0: dynamic, 2: dynamic, 3: dynamic}
    image = example(uint8, facts.get("multiple", 1), facts.get("minimum", 1))
    image = image.repeat(2, 1, 1, 1)  # the exporter makes a batch of 1 a constant
    try:
        with _quietly():
            program = torch.onnx.export(
                graph,
                (image,),
                input_names=["pixels" if uint8 else "picture"],
                output_names=["upscaled"],
                dynamic_shapes=(axes,),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # torch's exporter raises any exception of its steps
        raise CannotRunError(f"ONNX cannot represent this network: {lacking(error)}; use torch or OpenVINO") from error
    assert program is not None
    model = program.model_proto
    del model.graph.value_info[:]  # torch's intermediate shapes are wrong for images of one pixel
    return describe(model, facts)


def describe(model: Any, facts: Mapping[str, Any]) -> Any:
    """The model with these facts as its only metadata."""
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = _KEY, json.dumps(dict(facts))
    return model


def facts_of(model: Any) -> dict[str, Any]:
    """The facts of a model. Raises an exception of any class if it has none."""
    return dict(json.loads({entry.key: entry.value for entry in model.metadata_props}[_KEY]))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Suppress the output and warnings of torch's exporter and its helpers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def quantise(model: Any, images: Sequence[Bytes], keep: Collection[str] = ()) -> Any:
    """Static int8 as QuantizeLinear/DequantizeLinear pairs (QDQ) by ONNX Runtime; arguments as for OpenVINO.

    Only convolutions are quantised: inputs and outputs per tensor, as ONNX Runtime's int8 kernels need them, weights
    per channel, with 7 bits where the CPU's sums of 8-bit products would overflow.
    """
    quantization = require("onnxruntime.quantization")
    onnx = require("onnx")
    feeds = _Feeds(model, images)
    left_out = [n.name for n in model.graph.node if n.op_type == "Conv" and layer_of(n) in keep]
    with tempfile.TemporaryDirectory() as scratch, _quietly():
        before, after = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
        onnx.save(model, before)
        quantization.quantize_static(
            before,
            after,
            feeds,
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=left_out,
            per_channel=True,
            reduce_range=int8_saturates(),
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        result = onnx.load(after)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    return result


def layer_of(node: Any) -> str:
    """The layer (`srkd.inference.graph.layers`) of a Conv node, by the name of its weights."""
    return str(node.input[1].removesuffix(".weight"))


class _Feeds:
    """Calibration images for ONNX Runtime's calibrator, one after the other and then None."""

    def __init__(self, model: Any, images: Sequence[Bytes]) -> None:
        value = model.graph.input[0]
        uint8 = value.type.tensor_type.elem_type == require("onnx").TensorProto.UINT8
        self._feeds = iter([{value.name: p[None] if uint8 else as_floats(p[None])} for p in images])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def _session(content: bytes) -> Any:
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 4  # errors are raised; do not log them too
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def opened(content: bytes) -> tuple[Any, dict[str, Any]]:
    """A session of a file that srkd wrote and its facts, without the package onnx and the checks of `load`. Raises an
    exception of any class."""
    session = _session(content)
    return session, json.loads(session.get_modelmeta().custom_metadata_map[_KEY])


class OnnxEngine(Engine):
    """An ONNX model, its bytes, or a session of it, on ONNX Runtime's CPU provider."""

    runtime = "onnxruntime"

    def __init__(self, model: Any, precision: str, scale: int) -> None:
        super().__init__(precision, scale)
        if hasattr(model, "SerializeToString"):
            model = model.SerializeToString()
        try:
            self._session = _session(model) if isinstance(model, bytes) else model
        except SrkdError:
            raise
        except Exception as error:
            raise CannotRunError(f"ONNX Runtime cannot run this network: {reason(error)}") from error
        self._input = self._session.get_inputs()[0]
        self._uint8 = "uint8" in self._input.type

    def _run(self, pixels: Bytes) -> Bytes:
        return self._outputs(pixels) if self._uint8 else as_bytes(self._outputs(as_floats(pixels)))

    def _run_floats(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return super()._run_floats(x) if self._uint8 else self._outputs(x)

    def _outputs(self, x: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any] = self._session.run(None, {self._input.name: x})[0]
        return result


def _has_weights_elsewhere(message: Any) -> bool:
    """Whether any tensor in a model, at any depth, refers to another file."""
    for field, value in message.ListFields():
        if field.name == "external_data" or (field.name == "data_location" and value):
            return True
        inner = [value] if hasattr(value, "ListFields") else value if field.message_type is not None else []
        if any(map(_has_weights_elsewhere, inner)):
            return True
    return False


def external_files(path: Path) -> list[Path]:
    """The files beside a model of any program that have its weights; none if it contains them."""
    model = require("onnx").load(path, load_external_data=False)
    return sorted({path.parent / name for name in _locations(model)})


def _locations(message: Any) -> Iterator[str]:
    for field, value in message.ListFields():
        if field.name == "external_data":
            yield from (entry.value for entry in value if entry.key == "location")
        elif field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _locations(inner)


def _check_constants(model: Any) -> None:
    """Raise ValueError for a tensor of fixed size that is too large: a small file can request terabytes.

    Sizes inside a branch, a loop or a function are not known; srkd exports none.
    """
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    if model.functions or any(attribute.HasField("g") or attribute.graphs for attribute in attributes):
        raise ValueError("a graph within the graph")
    inferred = require("onnx").shape_inference.infer_shapes(model, data_prop=True)
    for value in [*inferred.graph.value_info, *inferred.graph.output]:
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
        if math.prod(sides) > MOST_NUMBERS:  # 0 if a dimension depends on the image
            raise ValueError(f"{value.name} has shape {sides}")


def save(model: Any, path: Path) -> None:
    """Write `path` (.onnx), weights included."""
    require("onnx").save(model, path)


def is_export(path: Path) -> bool:
    """Whether a file has srkd's facts, right or wrong."""
    try:
        model = require("onnx").load(path, load_external_data=False)
    except SrkdError:
        raise
    except Exception:  # protobuf's own classes, for files that are no ONNX models
        return False
    return any(entry.key == _KEY for entry in model.metadata_props)


def load(path: Path) -> tuple[Any, dict[str, Any]]:
    """An ONNX model that srkd wrote, and its facts. Raises SrkdError for any other file.

    External weight files are rejected: srkd writes none, and the path could be that of any file.
    """
    onnx, writer = require("onnx"), ""
    try:
        model = onnx.load(path, load_external_data=False)
        if model.graph.node and _KEY not in [entry.key for entry in model.metadata_props]:
            writer = f"{model.producer_name or 'another program'} {model.producer_version}"
        if _has_weights_elsewhere(model):
            raise ValueError("weights in another file")
        _check_constants(model)
        return model, facts_of(model)
    except Exception as error:
        raise not_exported(path, "an ONNX model", writer) from error
